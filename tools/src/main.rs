//! `apus`: every server, daemon and tool in one executable.

fn main() -> std::process::ExitCode {
    apus_tools::cli::main()
}
