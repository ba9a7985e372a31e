//! Reads a model folder in Hugging Face layout, with bounds, into values that agree with each other.
//!
//! In: a path. Out: [`ModelFolder`]: a configuration that this server can compute, the tokenizer, the
//! chat template and the tensors, whose names and shapes were compared with the configuration.
//! It reads plain files only: nothing is fetched, and no format that runs code is opened.
//! Against: a folder that makes the inference library panic or compute something else than meant.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use candle_transformers::models::llama::{Config, LlamaConfig, LlamaEosToks};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokenizers::Tokenizer;

use crate::chat_template::ChatTemplate;
use crate::limits;

/// A model as it lies in its folder.
pub struct ModelFolder {
    /// The architecture's numbers, all within `limits`.
    pub config: Config,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// The conversation template, if the model has one.
    pub template: Option<ChatTemplate>,
    /// How to sample where a request does not say.
    pub sampling: SamplingDefaults,
    /// Tokens that end a text.
    pub end_tokens: BTreeSet<u32>,
    /// Exactly the tensors the configuration asks for.
    pub tensors: HashMap<String, Tensor>,
}

/// What `generation_config.json` recommends; without the file, the OpenAI API's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default)]
pub struct SamplingDefaults {
    /// 0 takes the likeliest token.
    pub temperature: f64,
    /// Share of probability that is sampled from.
    pub top_p: f64,
    /// Number of tokens that are sampled from; 0 is all.
    pub top_k: usize,
}

impl Default for SamplingDefaults {
    fn default() -> Self {
        Self { temperature: 1.0, top_p: 1.0, top_k: 0 }
    }
}

/// Why a folder is not served.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file or the folder cannot be read.
    #[error("cannot read {}; expected a folder in Hugging Face layout", path.display())]
    Read {
        /// What was read.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than its bound.
    #[error("{} has more than {limit} bytes, the most this server reads", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound in bytes.
        limit: u64,
    },
    /// A file is not what its name says.
    #[error("{} is malformed", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The architecture is another, or a number is out of bounds.
    #[error("config.json: {key} is {got}; this server computes {supported}")]
    Unsupported {
        /// The member of `config.json`.
        key: &'static str,
        /// Its value.
        got: String,
        /// What it could be.
        supported: String,
    },
    /// The weights do not belong to the configuration.
    #[error("tensor {name}: expected shape {expected:?}, got {}", got.as_ref().map_or_else(|| "none".to_owned(), |shape| format!("{shape:?}")))]
    Tensor {
        /// The tensor's name.
        name: String,
        /// The shape by the configuration.
        expected: Vec<usize>,
        /// The shape in the file.
        got: Option<Vec<usize>>,
    },
    /// Two files hold the same tensor.
    #[error("tensor {0} is in more than one file")]
    Duplicate(String),
    /// No weights, or too many files of them.
    #[error("{} has {count} *.safetensors files; expected 1 to {}", path.display(), limits::MAX_WEIGHT_FILES)]
    WeightFiles {
        /// The folder.
        path: PathBuf,
        /// How many there are.
        count: usize,
    },
}

impl ModelFolder {
    /// Reads everything there is to read in `path`.
    ///
    /// # Errors
    /// In the order of reading: configuration, tokenizer, template, weights, agreement of both.
    pub fn read(path: &Path) -> Result<Self, FolderError> {
        let extra: ArchitectureNotes = json(&path.join("config.json"))?;
        let raw: LlamaConfig = json(&path.join("config.json"))?;
        extra.supported(&raw)?;
        let config = raw.into_config(false);
        let end_tokens = end_tokens(&config);

        let tokenizer_path = path.join("tokenizer.json");
        let tokenizer =
            Tokenizer::from_bytes(bounded(&tokenizer_path, limits::MAX_TOKENIZER_BYTES)?)
                .map_err(|source| FolderError::Malformed { path: tokenizer_path, source })?;
        if tokenizer.get_vocab_size(true) > config.vocab_size {
            return Err(FolderError::Unsupported {
                key: "vocab_size",
                got: config.vocab_size.to_string(),
                supported: format!("at least the tokenizer's {}", tokenizer.get_vocab_size(true)),
            });
        }
        let template = template(path)?;
        let sampling = optional_json(&path.join("generation_config.json"))?.unwrap_or_default();
        let tensors = tensors(path)?;
        agree(&config, &tensors)?;
        Ok(Self { config, tokenizer, template, sampling, end_tokens, tensors })
    }
}

/// Members of `config.json` that the inference library does not read, and so would silently ignore.
#[derive(Deserialize)]
struct ArchitectureNotes {
    model_type: String,
    #[serde(default = "silu")]
    hidden_act: String,
    head_dim: Option<usize>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
}

fn silu() -> String {
    "silu".to_owned()
}

impl ArchitectureNotes {
    fn supported(&self, config: &LlamaConfig) -> Result<(), FolderError> {
        let refuse = |key, got: String, supported: &str| {
            Err(FolderError::Unsupported { key, got, supported: supported.to_owned() })
        };
        let within = |key, value: usize, most: usize| {
            if (1..=most).contains(&value) {
                Ok(())
            } else {
                refuse(key, value.to_string(), &format!("1 to {most}"))
            }
        };
        if self.model_type != "llama" {
            return refuse("model_type", self.model_type.clone(), "llama");
        }
        if self.hidden_act != "silu" {
            return refuse("hidden_act", self.hidden_act.clone(), "silu");
        }
        if self.attention_bias || self.mlp_bias {
            return refuse("attention_bias or mlp_bias", "true".to_owned(), "false");
        }
        within("num_hidden_layers", config.num_hidden_layers, limits::MAX_LAYERS)?;
        within("hidden_size", config.hidden_size, limits::MAX_WIDTH)?;
        within("intermediate_size", config.intermediate_size, limits::MAX_WIDTH)?;
        within("vocab_size", config.vocab_size, limits::MAX_VOCABULARY)?;
        within("max_position_embeddings", config.max_position_embeddings, limits::MAX_VOCABULARY)?;
        within("num_attention_heads", config.num_attention_heads, config.hidden_size)?;
        within("num_key_value_heads", config.num_key_value_heads(), config.num_attention_heads)?;
        let (size, heads, shared) =
            (config.hidden_size, config.num_attention_heads, config.num_key_value_heads());
        if !size.is_multiple_of(heads.saturating_mul(2)) || !heads.is_multiple_of(shared) {
            return refuse(
                "num_attention_heads",
                format!("{heads} (with hidden_size {size} and {shared} key/value heads)"),
                "heads of one even size, shared out evenly",
            );
        }
        match self.head_dim {
            Some(dim) if dim != size / heads => refuse(
                "head_dim",
                dim.to_string(),
                &format!("{} here (hidden_size / heads)", size / heads),
            ),
            _ => Ok(()),
        }
    }
}

fn end_tokens(config: &Config) -> BTreeSet<u32> {
    match &config.eos_token_id {
        Some(LlamaEosToks::Single(id)) => BTreeSet::from([*id]),
        Some(LlamaEosToks::Multiple(ids)) => ids.iter().copied().collect(),
        None => BTreeSet::new(),
    }
}

/// The members of `tokenizer_config.json` that matter for a conversation.
#[derive(Deserialize)]
struct TokenizerNotes {
    chat_template: Option<String>,
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
}

/// A special token, which Hugging Face's libraries write in either of two ways.
#[derive(Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Text(String),
    Object { content: String },
}

fn token_text(token: Option<SpecialToken>) -> String {
    match token {
        Some(SpecialToken::Text(content) | SpecialToken::Object { content }) => content,
        None => String::new(),
    }
}

fn template(path: &Path) -> Result<Option<ChatTemplate>, FolderError> {
    let path = path.join("tokenizer_config.json");
    let Some(notes) = optional_json::<TokenizerNotes>(&path)? else {
        return Ok(None);
    };
    let Some(source) = notes.chat_template else {
        return Ok(None);
    };
    ChatTemplate::compile(source, token_text(notes.bos_token), token_text(notes.eos_token))
        .map(Some)
        .map_err(|source| FolderError::Malformed { path, source: source.into() })
}

fn tensors(path: &Path) -> Result<HashMap<String, Tensor>, FolderError> {
    let read = |source| FolderError::Read { path: path.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(read)? {
        let file = entry.map_err(read)?.path();
        if file.extension().is_some_and(|extension| extension == "safetensors") {
            files.push(file);
        }
    }
    if !(1..=limits::MAX_WEIGHT_FILES).contains(&files.len()) {
        return Err(FolderError::WeightFiles { path: path.to_owned(), count: files.len() });
    }
    files.sort();
    let mut room = limits::MAX_WEIGHT_BYTES;
    let mut tensors = HashMap::new();
    for file in files {
        let bytes = bounded(&file, room)?;
        room -= bytes.len() as u64;
        let part = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
            .map_err(|source| FolderError::Malformed { path: file, source: source.into() })?;
        for (name, tensor) in part {
            if tensors.contains_key(&name) {
                return Err(FolderError::Duplicate(name));
            }
            tensors.insert(name, tensor);
        }
    }
    Ok(tensors)
}

/// The inference library panics on a missing tensor, so names and shapes are compared before it.
fn agree(config: &Config, tensors: &HashMap<String, Tensor>) -> Result<(), FolderError> {
    for (name, expected) in expected_tensors(config) {
        let got = tensors.get(&name).map(|tensor| tensor.dims().to_vec());
        if got.as_ref() != Some(&expected) {
            return Err(FolderError::Tensor { name, expected, got });
        }
    }
    Ok(())
}

/// Name and shape (out, in) of every tensor of `LlamaForCausalLM`.
fn expected_tensors(config: &Config) -> Vec<(String, Vec<usize>)> {
    let (width, inner, words) = (config.hidden_size, config.intermediate_size, config.vocab_size);
    let shared = width / config.num_attention_heads * config.num_key_value_heads;
    let mut all = vec![
        ("model.embed_tokens.weight".to_owned(), vec![words, width]),
        ("model.norm.weight".to_owned(), vec![width]),
    ];
    if !config.tie_word_embeddings {
        all.push(("lm_head.weight".to_owned(), vec![words, width]));
    }
    for layer in 0..config.num_hidden_layers {
        let parts = [
            ("input_layernorm", vec![width]),
            ("self_attn.q_proj", vec![width, width]),
            ("self_attn.k_proj", vec![shared, width]),
            ("self_attn.v_proj", vec![shared, width]),
            ("self_attn.o_proj", vec![width, width]),
            ("post_attention_layernorm", vec![width]),
            ("mlp.gate_proj", vec![inner, width]),
            ("mlp.up_proj", vec![inner, width]),
            ("mlp.down_proj", vec![width, inner]),
        ];
        all.extend(
            parts.map(|(part, shape)| (format!("model.layers.{layer}.{part}.weight"), shape)),
        );
    }
    all
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, FolderError> {
    serde_json::from_slice(&bounded(path, limits::MAX_CONFIG_BYTES)?)
        .map_err(|source| FolderError::Malformed { path: path.to_owned(), source: source.into() })
}

fn optional_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FolderError> {
    match json(path) {
        Err(FolderError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// Reads a file of at most `limit` bytes; what it says about its own length is not believed.
fn bounded(path: &Path, limit: u64) -> Result<Vec<u8>, FolderError> {
    let read = |source| FolderError::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(read)?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > limit {
        return Err(FolderError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}
