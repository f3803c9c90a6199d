fn main() -> std::process::ExitCode {
    barycenter::memory::few_arenas();
    barycenter::cli::main()
}
