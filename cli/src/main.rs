//! `adyton`: one program for the people around a sealed model. Everything is in the library.

use std::process::ExitCode;

use adyton_cli::console::standard_streams;

fn main() -> ExitCode {
    let (out_stream, err_stream) = standard_streams();
    let exit = adyton_cli::run(
        std::env::args_os(),
        (&mut std::io::stdout(), out_stream),
        (&mut std::io::stderr(), err_stream),
    );
    ExitCode::from(exit as u8)
}
