//! One module a verb. Each has its arguments, its examples and one function `run`.

pub mod completions;
pub mod connect;
pub mod doctor;
pub mod endorsements;
pub mod explain;
pub mod inspect;
pub mod key;
pub mod measure;
pub mod policy;
pub mod push;
pub mod recipients;
pub mod reference_values;
mod rewrap;
pub mod rules;
pub mod seal;
pub mod signature;
pub mod token;
pub mod trust;
pub mod verify;

use adyton_attestation::rcar::ResourcePath;

use crate::admin_api::AdminApi;
use crate::arguments::Globals;
use crate::console::Console;
use crate::failure::{Exit, Failure};
use crate::settings::BrokerSettings;

/// What every verb gets besides its own arguments.
pub struct Context<'a> {
    /// The global flags.
    pub globals: Globals,
    /// Where results and messages go.
    pub console: Console<'a>,
}

impl Context<'_> {
    /// The broker's admin API, from flags, environment and configuration file.
    ///
    /// # Errors
    /// [`Failure`] for missing settings or unusable files; nothing was sent.
    pub fn broker(&self) -> Result<AdminApi, Failure> {
        let settings = BrokerSettings::load(&self.globals)?;
        Ok(AdminApi::new(&settings)?)
    }
}

/// Reads a key's URI, so that a slip is told before anything is sent.
///
/// # Errors
/// [`Failure`] that names the rule.
pub fn key_uri(text: &str) -> Result<ResourcePath, Failure> {
    ResourcePath::from_uri(text).map_err(|error| {
        Failure::new(Exit::Usage, "key.uri", "the key's name is not a key URI")
            .got(text)
            .expected("kbs:///REPOSITORY/TYPE/TAG, such as kbs:///acme/model-key/llama")
            .remedy("correct the name; letters, digits, `-`, `_` and `.` are allowed in each part")
            .caused_by(&error)
    })
}
