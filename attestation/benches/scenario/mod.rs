//! Quotes with everything that their verification needs, simulated and real.

use std::path::{Path, PathBuf};

use adyton_attestation::TrustAnchors;
use adyton_fake_tee::{FakeTee, QuoteFormat, TdProfile};

/// One quote with everything that its verification needs.
pub struct Scenario {
    pub name: &'static str,
    pub quote: Vec<u8>,
    /// One collateral object, JSON.
    pub collateral: String,
    pub anchors: TrustAnchors,
    pub root_der: Vec<u8>,
    /// Seconds since 1970.
    pub now: u64,
}

impl Scenario {
    /// All that are at hand; says which are not.
    pub fn all() -> Vec<Self> {
        let now = 1_800_000_000;
        let tee = FakeTee::from_seed([3; 32], now);
        let simulated = |name, format| {
            let profile = TdProfile { format, ..TdProfile::default() };
            Self {
                name,
                quote: tee.quote(&profile, [1; 64]),
                collateral: tee.collateral(now, &[]).to_string(),
                anchors: TrustAnchors::vendor()
                    .with_insecure_extra_root(tee.root_der())
                    .expect("the fake root is a certificate"),
                root_der: tee.root_der().to_vec(),
                now,
            }
        };
        let mut all = vec![
            simulated("simulated-v4", QuoteFormat::V4),
            simulated("simulated-v5", QuoteFormat::V5Td15),
        ];
        let real = [
            ("real-v4", "tdx_quote", "tdx_quote_collateral.json", 1_750_500_000),
            ("real-v5", "tdx_quote_td15ex", "tdx_quote_td15ex_collateral.json", 1_792_000_000),
        ];
        all.extend(real.into_iter().filter_map(|(name, quote, collateral, now)| {
            let scenario = Self::real(name, quote, collateral, now);
            if scenario.is_none() {
                println!("skipped: {name}, no vectors (set ADYTON_VECTORS)");
            }
            scenario
        }));
        all
    }

    fn real(name: &'static str, quote: &str, collateral: &str, now: u64) -> Option<Self> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
        let folder = std::env::var_os("ADYTON_VECTORS").map_or(beside, PathBuf::from);
        let read = |name: &str| std::fs::read(folder.join("dcap-qvl").join(name)).ok();
        let mut collateral: serde_json::Value =
            serde_json::from_slice(&read(collateral)?).expect("JSON");
        // A chain in collateral would replace the quote's in the library, and is nothing here.
        collateral.as_object_mut()?.remove("pck_certificate_chain");
        Some(Self {
            name,
            quote: read(quote)?,
            collateral: collateral.to_string(),
            anchors: TrustAnchors::vendor(),
            root_der: read("TrustedRootCA.der")?,
            now,
        })
    }
}
