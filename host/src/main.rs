fn main() -> std::process::ExitCode {
    barycenter::cli::main()
}
