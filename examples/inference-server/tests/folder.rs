//! Model folders that are not served, and the reason each is given; and one that others read alike.

use std::fs;
use std::path::{Path, PathBuf};

use adyton_example_server::engine::Engine;
use adyton_example_server::folder::{FolderError, ModelFolder};
use serde::Deserialize;
use serde_json::{Value, json};

fn original() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../model/kjv-llama")
}

/// A copy of the repository's model that a test may damage.
struct Copy(tempfile::TempDir);

impl Copy {
    fn new() -> Self {
        let copy = tempfile::tempdir().expect("a temporary folder");
        for entry in fs::read_dir(original()).expect("the repository has the model") {
            let file = entry.expect("the folder is readable").path();
            let name = file.file_name().expect("a file has a name");
            fs::copy(&file, copy.path().join(name)).expect("the file can be copied");
        }
        Self(copy)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn edit_config(&self, key: &str, value: Value) {
        let path = self.file("config.json");
        let mut config: Value =
            serde_json::from_slice(&fs::read(&path).expect("the config is there"))
                .expect("it is JSON");
        config[key] = value;
        fs::write(path, config.to_string()).expect("the config can be written");
    }

    fn refusal(&self) -> FolderError {
        ModelFolder::read(self.0.path()).err().expect("the folder is refused")
    }
}

#[test]
fn another_architecture_is_refused_by_the_member_that_differs() {
    for (key, value) in [
        ("model_type", json!("mistral")),
        ("hidden_act", json!("gelu")),
        ("head_dim", json!(64)),
        ("num_hidden_layers", json!(100_000)),
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(7)),
        ("num_key_value_heads", json!(4)),
        ("vocab_size", json!(100)),
    ] {
        let copy = Copy::new();
        copy.edit_config(key, value);
        match copy.refusal() {
            FolderError::Unsupported { key: named, .. } if named == key => {}
            FolderError::Unsupported { key: "num_attention_heads", .. }
                if key == "num_key_value_heads" => {}
            other => panic!("{key}: {other:?}"),
        }
    }
}

#[test]
fn weights_of_another_shape_or_number_are_refused_by_name() {
    let copy = Copy::new();
    copy.edit_config("intermediate_size", json!(256));
    let FolderError::Tensor { name, expected, got } = copy.refusal() else {
        panic!("another refusal")
    };
    assert_eq!(name, "model.layers.0.mlp.gate_proj.weight");
    assert_eq!((expected, got), (vec![256, 192], Some(vec![512, 192])));

    let copy = Copy::new();
    copy.edit_config("num_hidden_layers", json!(9));
    assert!(matches!(copy.refusal(), FolderError::Tensor { got: None, .. }));
}

#[test]
fn a_missing_cut_or_foreign_file_is_refused_by_name() {
    for name in ["config.json", "tokenizer.json"] {
        let copy = Copy::new();
        fs::remove_file(copy.file(name)).expect("the file can be removed");
        let refusal = copy.refusal();
        assert!(
            matches!(&refusal, FolderError::Read { path, .. } if path.ends_with(name)),
            "{refusal:?}"
        );
    }
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        let copy = Copy::new();
        let bytes = fs::read(copy.file(name)).expect("the file is there");
        fs::write(copy.file(name), &bytes[..bytes.len() / 2]).expect("the file can be cut");
        let refusal = copy.refusal();
        assert!(
            matches!(&refusal, FolderError::Malformed { path, .. } if path.ends_with(name)),
            "{refusal:?}"
        );
    }
    let copy = Copy::new();
    fs::rename(copy.file("model.safetensors"), copy.file("model.bin"))
        .expect("the file can be renamed");
    assert!(matches!(copy.refusal(), FolderError::WeightFiles { count: 0, .. }));
}

#[test]
fn a_tensor_in_two_files_is_refused() {
    let copy = Copy::new();
    fs::copy(copy.file("model.safetensors"), copy.file("more.safetensors"))
        .expect("the file can be copied");
    assert!(matches!(copy.refusal(), FolderError::Duplicate(_)));
}

#[test]
fn a_configuration_without_end_is_refused_by_its_size() {
    let copy = Copy::new();
    fs::write(copy.file("config.json"), vec![b' '; (1 << 20) + 1])
        .expect("the file can be written");
    assert!(matches!(copy.refusal(), FolderError::TooLarge { limit: 1_048_576, .. }));
}

/// What the training code computes for a prompt; see `examples/model/expect.py`.
#[derive(Deserialize)]
struct Expected {
    text: String,
    tokens: Vec<u32>,
    /// Token, score of it as the next.
    scores: Vec<(usize, f32)>,
}

#[test]
fn tokens_and_scores_agree_with_the_training_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/expected.json");
    let cases: Vec<Expected> =
        serde_json::from_slice(&fs::read(path).expect("the repository has the file"))
            .expect("it is JSON");
    assert_eq!(cases.len(), 3);
    let folder = ModelFolder::read(&original()).expect("the repository's model is readable");
    let tokenizer = folder.tokenizer.clone();
    let engine = Engine::new(folder).expect("the repository's model is computable");
    for case in cases {
        let tokens = tokenizer.encode(case.text.as_str(), true).expect("the text has tokens");
        assert_eq!(tokens.get_ids(), case.tokens, "{}", case.text);
        let scores = engine.next_token_scores(&case.tokens).expect("the scores can be computed");
        for (token, expected) in case.scores {
            let got = scores[token];
            assert!(
                (got - expected).abs() < 2e-3,
                "{}: token {token} is {got}, not {expected}",
                case.text
            );
        }
    }
}
