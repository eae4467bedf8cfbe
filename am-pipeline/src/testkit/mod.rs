//! Conformance cases for authors of sources, processors and sinks.
