use super::*;

fn load(text: &str) -> Result<BrokerConfig, Vec<Finding>> {
    BrokerConfig::load(Some((Path::new("broker.toml"), text)), [], [])
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let config = load("").expect("defaults are valid");
    assert_eq!(config.listen.to_string(), "0.0.0.0:8443");
    assert_eq!(config.tls, TlsSource::SelfMade);
    assert_eq!(config.session.timeout, Duration::from_secs(300));
    assert_eq!(config.server_names, ["localhost", "127.0.0.1"]);
    let token = TokenAuthentication::File("/var/lib/adyton-broker/admin-token".into());
    assert_eq!(config.admin.token, token);
    assert_eq!(config.admin.client_certificates, ClientCertificates::Off);
    assert!(config.insecure_extra_roots.is_empty());
    assert_eq!(config.verify_options.loosened(), []);
}

#[test]
fn amds_lists_are_waived_by_one_word_alone() {
    let set = |word: &str| load(&format!("[verifier]\ninsecure_amd_revocation = {word:?}\n"));
    let waiving = set("waive").expect("a word of the setting").verify_options;
    assert_eq!(waiving.amd_revocation, AmdRevocation::InsecureWaive);
    assert_eq!(set("require").expect("a word").verify_options.loosened(), []);
    let findings = set("true").expect_err("no word of the setting");
    assert!(findings[0].step.contains("`verifier.insecure_amd_revocation`"), "{findings:?}");
}

#[test]
fn tds_of_a_paravisor_are_accepted_by_one_word_alone() {
    let set = |word: &str| load(&format!("[verifier]\ninsecure_paravisor_tds = {word:?}\n"));
    let accepting = set("accept").expect("a word of the setting");
    assert_eq!(accepting.verify_options.paravisor_tds, ParavisorTds::InsecureAccept);
    assert_eq!(set("refuse").expect("a word").verify_options.paravisor_tds, ParavisorTds::Refuse);
    let findings = set("yes").expect_err("no word of the setting");
    assert!(findings[0].step.contains("`verifier.insecure_paravisor_tds`"), "{findings:?}");
}

#[test]
fn every_default_is_of_its_kind() {
    for setting in SETTINGS {
        let set = BrokerConfig::load(None, [], [(setting.key, setting.default.to_owned())]);
        assert!(set.is_ok(), "{}: {set:?}", setting.key);
    }
}

#[test]
fn all_mistakes_are_reported_together() {
    let findings = load(
        r#"
        listen = "here"
        lisen = "127.0.0.1:1"
        server_names = ["not a name"]
        state_dir = 5
        [session]
        timeout_seconds = 0
        [tls]
        key_file = "/does/not/exist"
        [verifier]
        insecure_extra_roots = ["/does/not/exist.pem"]
        [log]
        format = "xml"
        "#,
    )
    .expect_err("eight mistakes");
    let steps: Vec<&str> = findings.iter().map(|finding| finding.step.as_str()).collect();
    for key in [
        "`listen`",
        "`lisen`",
        "`server_names`",
        "`state_dir`",
        "`session.timeout_seconds`",
        "`tls.key_file`",
        "`tls.certificate_file`",
        "`verifier.insecure_extra_roots`",
        "`log.format`",
    ] {
        assert!(steps.iter().any(|step| step.contains(key)), "{key} is not among {steps:?}");
    }
    assert_eq!(findings.len(), 9);
}

#[test]
fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
    let findings = load("[session]\ntimeout_second = 5").expect_err("unknown key");
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].remedy, "did you mean `session.timeout_seconds`?");
}

#[test]
fn the_environment_goes_over_the_file_and_flags_over_both() {
    let environment = [
        ("ADYTON_BROKER__LISTEN".to_owned(), "127.0.0.1:2".to_owned()),
        ("ADYTON_BROKER__SESSION__TIMEOUT_SECONDS".to_owned(), "7".to_owned()),
        ("ADYTON_BROKER__SERVER_NAMES".to_owned(), "a.example, b.example".to_owned()),
        ("ADYTON_SIDECAR__LISTEN".to_owned(), "ignored".to_owned()),
    ];
    let file = "listen = \"127.0.0.1:1\"\n[session]\ntimeout_seconds = 9";
    let flags = [("listen", "127.0.0.1:3".to_owned())];
    let config =
        BrokerConfig::load(Some((Path::new("f"), file)), environment, flags).expect("valid");
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.session.timeout, Duration::from_secs(7));
    assert_eq!(config.server_names, ["a.example", "b.example"]);
}

#[test]
fn an_unknown_environment_variable_is_refused() {
    let environment = [("ADYTON_BROKER__LISTN".to_owned(), "127.0.0.1:2".to_owned())];
    let findings = BrokerConfig::load(None, environment, []).expect_err("unknown");
    assert!(findings[0].step.contains("ADYTON_BROKER__LISTN"), "{findings:?}");
    assert_eq!(findings[0].remedy, "did you mean `listen`?");
}

#[test]
fn broken_toml_names_the_file_and_the_place() {
    let findings = load("listen = \n").expect_err("syntax");
    assert!(findings[0].step.contains("broker.toml"));
    assert!(findings[0].value.contains("line 1"), "{findings:?}");
}

#[test]
fn no_authentication_method_means_no_admin_api() {
    let config = load("[admin]\nauthentication = []").expect("valid");
    assert!(config.admin.is_off());
}

#[test]
fn client_certificates_without_their_ca_are_refused() {
    let findings = load("[admin]\nauthentication = [\"client-certificate\"]").expect_err("no CA");
    assert!(findings[0].step.contains("admin.client_ca_file"), "{findings:?}");
}
