"""The subcommands of `sasa-tutorial`, one a file. Everything heavy is imported inside the command that needs it: --help
must not wait for torch."""
