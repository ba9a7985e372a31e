//! Being written.
use crate::failure::Failure;
use crate::verb::Context;
use clap::Args;
/// x
pub const EXAMPLES: &str = "x";
/// x
#[derive(Debug, Args)]
pub struct InspectArgs {}
/// x
pub fn run(_a: &InspectArgs, _c: &mut Context<'_>) -> Result<(), Failure> {
    Ok(())
}
