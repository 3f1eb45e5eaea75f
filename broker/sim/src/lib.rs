//! A seeded simulator of whole brokers, and the checker of what they did.
