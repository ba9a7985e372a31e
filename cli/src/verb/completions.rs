//! `adyton completions`: scripts that let a shell complete verbs and flags.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Context;
use crate::arguments::Cli;
use crate::failure::Failure;

/// Shown under the help.
pub const EXAMPLES: &str = "\
Examples:
  adyton completions bash > ~/.local/share/bash-completion/completions/adyton
  adyton completions zsh > ~/.zfunc/_adyton
  adyton completions fish > ~/.config/fish/completions/adyton.fish";

/// Arguments of `adyton completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs `adyton completions`.
///
/// # Errors
/// [`Failure`] when stdout cannot be written.
pub fn run(args: &CompletionsArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "adyton", &mut script);
    context.console.raw(&script)
}
