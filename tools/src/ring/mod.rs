//! stub
/// Stub.
pub fn main(_: Vec<String>) -> std::process::ExitCode {
    std::process::ExitCode::from(2)
}
