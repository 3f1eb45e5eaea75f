//! The Kubernetes resource types of CMQ.
