//! One completion to compute: every number is in range, and the prompt is not yet tokens.
//!
//! In: values that `api` took from a request. Out: [`Job`] for the [`Engine`](crate::engine::Engine),
//! and the [`Event`]s that come back while it runs.

use crate::folder::SamplingDefaults;

/// What to complete.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// Text; the tokenizer adds the token that begins a text.
    Text(String),
    /// Text of a chat template, which already holds the special tokens.
    Rendered(String),
    /// Tokens, used as they are.
    Tokens(Vec<u32>),
}

/// One completion.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// What to complete.
    pub prompt: Prompt,
    /// At most this many tokens; `None` is as many as the context has room for.
    pub max_tokens: Option<usize>,
    /// How to choose each token.
    pub sampling: Sampling,
    /// Strings that end the text and are not part of it; none is empty.
    pub stops: Vec<String>,
}

/// How to choose each token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest token; up to 2.
    pub temperature: f64,
    /// Sample from the likeliest tokens that make up this share, above 0 to 1.
    pub top_p: f64,
    /// Sample from this many of the likeliest tokens; 0 is all.
    pub top_k: usize,
    /// The same seed gives the same text; chosen at random where a request has none.
    pub seed: u64,
}

impl Sampling {
    /// The model's own recommendation with this seed.
    pub fn recommended(defaults: SamplingDefaults, seed: u64) -> Self {
        let SamplingDefaults { temperature, top_p, top_k } = defaults;
        Self { temperature, top_p, top_k, seed }
    }
}

/// What happens while a job runs, in this order: one `Started`, any number of `Text`, one `Finished`;
/// or `Refused` alone; or `Failed` at any place.
#[derive(Debug)]
pub enum Event {
    /// The prompt fits and is being computed.
    Started,
    /// The next piece of the text: whole characters, never empty.
    Text(String),
    /// The text is complete.
    Finished(Finish),
    /// The prompt cannot be completed; nothing was computed.
    Refused(Refusal),
    /// The computation failed.
    Failed(String),
}

/// How a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finish {
    /// Why no more text came.
    pub reason: FinishReason,
    /// Tokens of the prompt, special ones included.
    pub prompt_tokens: usize,
    /// Tokens computed, the one that ended the text included.
    pub completion_tokens: usize,
}

/// Why no more text came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended the text, or a stop string came.
    Stop,
    /// The number of tokens asked for, or the context, is used up.
    Length,
}

impl FinishReason {
    /// The OpenAI API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// Why a prompt cannot be completed: a mistake of the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The prompt has no tokens.
    #[error("the prompt is empty; give at least one token")]
    Empty,
    /// A token is not in the vocabulary.
    #[error("token {token} is not in the vocabulary of {vocabulary} tokens")]
    UnknownToken {
        /// The token.
        token: u32,
        /// How many there are, counted from 0.
        vocabulary: usize,
    },
    /// Prompt and completion together are longer than the context.
    #[error(
        "this model's maximum context length is {context} tokens; you asked for {prompt} in the prompt and \
         {completion} in the completion; shorten the prompt or lower max_tokens"
    )]
    ContextLength {
        /// The most there can be.
        context: usize,
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens asked for.
        completion: usize,
    },
}
