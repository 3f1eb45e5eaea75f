//! Authorities, certificates, and their rotation.
