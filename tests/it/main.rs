//! Integration tests: one binary, one module per promise.

#[test]
fn harness_runs() {
    assert_eq!(env!("CARGO_PKG_NAME"), "longshore");
}
