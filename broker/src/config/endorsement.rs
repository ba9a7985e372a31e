//! The `[endorsements]` table: bundle files, and the services that may be asked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use adyton_attestation::endorsement::fetch::{BaseUrl, Services};

use super::Reader;
use crate::endorsements::client::Timeouts;
use crate::endorsements::fetcher::Rules;

/// Where Endorsements are fetched from, and how.
#[derive(Clone, Debug)]
pub struct FetchConfig {
    /// The services; none: nothing is ever fetched.
    pub services: Services,
    /// PEM file of the CAs that the services' certificates lead to; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// Longest times of one request.
    pub timeouts: Timeouts,
    /// How long what was fetched is used.
    pub rules: Rules,
    /// Folder of what was fetched.
    pub cache_dir: PathBuf,
}

impl Reader<'_> {
    pub(super) fn fetch(&mut self, state_dir: &Path) -> FetchConfig {
        let services = Services {
            intel: self.url("endorsements.intel_url"),
            intel_root_crl: self.url("endorsements.intel_root_crl_url"),
            amd: self.url("endorsements.amd_url"),
        };
        if services.intel_root_crl.is_some() && services.intel.is_none() {
            let expected = "the service whose root list `endorsements.intel_root_crl_url` is";
            let remedy = "set both, or remove the URL of the list";
            self.refuse("endorsements.intel_url", "(not set)", expected, remedy);
        }
        let seconds = |number| Duration::from_secs(number);
        let hours = |number: u64| Duration::from_secs(number.saturating_mul(3600));
        let total = seconds(self.number("endorsements.timeout_seconds"));
        let refresh_after = hours(self.number("endorsements.refresh_hours"));
        let max_stale = hours(self.number("endorsements.max_stale_hours"));
        if max_stale < refresh_after {
            let value = self.number("endorsements.max_stale_hours").to_string();
            let expected = "at least `endorsements.refresh_hours`";
            let remedy = "raise it; 168 bridges a week without the services";
            self.refuse("endorsements.max_stale_hours", &value, expected, remedy);
        }
        let cache_dir = match self.text("endorsements.cache_dir").as_str() {
            "" => state_dir.join("endorsements"),
            path => PathBuf::from(path),
        };
        FetchConfig {
            services,
            ca_file: self.optional_file("endorsements.ca_file"),
            timeouts: Timeouts { connect: total.min(Duration::from_secs(5)), total },
            rules: Rules {
                refresh_after,
                max_stale,
                wait: total,
                vcek_interval: seconds(self.number("endorsements.amd_vcek_interval_seconds")),
                max_entries: self.count("endorsements.cache_entries"),
            },
            cache_dir,
        }
    }

    fn url(&mut self, key: &'static str) -> Option<BaseUrl> {
        let text = self.text(key);
        if text.is_empty() {
            return None;
        }
        match BaseUrl::parse(&text) {
            Ok(url) => Some(url),
            Err(error) => {
                let expected = format!("https://host[:port][/path] ({error})");
                self.refuse(key, &text, &expected, "correct the URL, or leave it out");
                None
            }
        }
    }
}
