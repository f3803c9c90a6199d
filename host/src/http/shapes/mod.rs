//! The JSON that clients read, built by hand from stored values and reused by every handler that shows them.
