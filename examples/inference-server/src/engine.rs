//! Computes completions: tokens in, text out, piece by piece.
//!
//! In: a [`ModelFolder`] once, then [`Job`]s. Out: [`Event`]s, handed to the caller's function as they
//! happen. Blocking and without IO: the server gives each job a thread of its own, and a caller that
//! breaks off ends the computation at the next token.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::generation::{LogitsProcessor, Sampling as Choice};
use candle_transformers::models::llama::{Cache, Llama};
use tokenizers::Tokenizer;

use crate::chat_template::ChatTemplate;
use crate::folder::{ModelFolder, SamplingDefaults};
use crate::job::{Event, Finish, FinishReason, Job, Prompt, Refusal, Sampling};
use crate::limits::MAX_CONTEXT;
use crate::stop::{Passed, StopFilter};

/// A model in memory.
pub struct Engine {
    model: Llama,
    /// An empty key/value cache; each job works on a copy.
    empty_cache: Cache,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    sampling: SamplingDefaults,
    end_tokens: BTreeSet<u32>,
    context: usize,
    vocabulary: usize,
}

/// Why a computation broke off. All of these are faults of the model or of this server.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The tensors could not be computed with.
    #[error("the model cannot be computed")]
    Compute(#[from] candle_core::Error),
    /// Text could not become tokens, or tokens text.
    #[error("the tokenizer failed")]
    Tokenizer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a job came to.
enum Outcome {
    Finished(Finish),
    Refused(Refusal),
    /// The caller broke off.
    Abandoned,
}

impl Engine {
    /// Builds the model from its parts, with the weights as 32-bit floats: processors without a GPU
    /// have no faster kind.
    ///
    /// # Errors
    /// [`EngineError::Compute`] when the tensors cannot be laid out.
    pub fn new(folder: ModelFolder) -> Result<Self, EngineError> {
        let ModelFolder { config, tokenizer, template, sampling, end_tokens, tensors } = folder;
        let variables = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        Ok(Self {
            model: Llama::load(variables, &config)?,
            empty_cache: Cache::new(true, DType::F32, &config, &Device::Cpu)?,
            context: config.max_position_embeddings.min(MAX_CONTEXT),
            vocabulary: config.vocab_size,
            tokenizer,
            template,
            sampling,
            end_tokens,
        })
    }

    /// The conversation template, if the model has one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// How to sample where a request does not say.
    pub fn sampling(&self) -> SamplingDefaults {
        self.sampling
    }

    /// Most tokens of prompt and completion together.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Runs `job` to its end and tells `emit` what happens, in the order that [`Event`] describes.
    /// Returns early when `emit` breaks off.
    pub fn run(&self, job: &Job, emit: &mut dyn FnMut(Event) -> ControlFlow<()>) {
        let last = match self.complete(job, emit) {
            Ok(Outcome::Finished(finish)) => Event::Finished(finish),
            Ok(Outcome::Refused(refusal)) => Event::Refused(refusal),
            Ok(Outcome::Abandoned) => return,
            Err(error) => Event::Failed(format!("{error}: {}", root_cause(&error))),
        };
        // Nothing follows, so it does not matter whether anybody still listens.
        let _ = emit(last);
    }

    fn complete(
        &self,
        job: &Job,
        emit: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Outcome, EngineError> {
        let prompt = self.tokens_of(&job.prompt)?;
        let room = match self.room_after(&prompt, job.max_tokens) {
            Ok(room) => room,
            Err(refusal) => return Ok(Outcome::Refused(refusal)),
        };
        if emit(Event::Started).is_break() {
            return Ok(Outcome::Abandoned);
        }

        let mut cache = self.empty_cache.clone();
        let mut choice = LogitsProcessor::from_sampling(job.sampling.seed, choice_of(job.sampling));
        let mut decoder = self.tokenizer.decode_stream(true);
        let mut filter = StopFilter::new(job.stops.clone());
        let mut input = prompt.clone();
        let mut position = 0;
        let mut finish = Finish {
            reason: FinishReason::Length,
            prompt_tokens: prompt.len(),
            completion_tokens: 0,
        };
        while finish.completion_tokens < room {
            let logits = self.logits(&input, position, &mut cache)?;
            let token = choice.sample(&logits)?;
            finish.completion_tokens += 1;
            if self.end_tokens.contains(&token) {
                finish.reason = FinishReason::Stop;
                break;
            }
            // The decoder keeps the bytes of an unfinished character to itself.
            let piece = decoder.step(token).map_err(EngineError::Tokenizer)?.unwrap_or_default();
            let (text, stopped) = match filter.push(&piece) {
                Passed::Text(text) => (text, false),
                Passed::Stopped(text) => (text, true),
            };
            if !text.is_empty() && emit(Event::Text(text)).is_break() {
                return Ok(Outcome::Abandoned);
            }
            if stopped {
                finish.reason = FinishReason::Stop;
                return Ok(Outcome::Finished(finish));
            }
            position += input.len();
            input = vec![token];
        }
        let rest = filter.finish();
        if !rest.is_empty() && emit(Event::Text(rest)).is_break() {
            return Ok(Outcome::Abandoned);
        }
        Ok(Outcome::Finished(finish))
    }

    fn tokens_of(&self, prompt: &Prompt) -> Result<Vec<u32>, EngineError> {
        let encode = |text: &str, with_special_tokens: bool| {
            let encoding = self.tokenizer.encode_fast(text, with_special_tokens);
            Ok(encoding.map_err(EngineError::Tokenizer)?.get_ids().to_vec())
        };
        match prompt {
            Prompt::Text(text) => encode(text, true),
            Prompt::Rendered(text) => encode(text, false),
            Prompt::Tokens(tokens) => Ok(tokens.clone()),
        }
    }

    /// How many tokens may be computed after this prompt.
    fn room_after(&self, prompt: &[u32], asked: Option<usize>) -> Result<usize, Refusal> {
        if prompt.is_empty() {
            return Err(Refusal::Empty);
        }
        if let Some(&token) = prompt.iter().find(|&&token| token as usize >= self.vocabulary) {
            return Err(Refusal::UnknownToken { token, vocabulary: self.vocabulary });
        }
        let completion = asked.unwrap_or(1);
        match self.context.checked_sub(prompt.len()) {
            Some(room) if completion <= room => Ok(asked.unwrap_or(room)),
            _ => Err(Refusal::ContextLength {
                context: self.context,
                prompt: prompt.len(),
                completion,
            }),
        }
    }

    /// Scores of every token of the vocabulary as the next after `input`, which begins at `position`.
    fn logits(
        &self,
        input: &[u32],
        position: usize,
        cache: &mut Cache,
    ) -> Result<Tensor, EngineError> {
        let input = Tensor::new(input, &Device::Cpu)?.unsqueeze(0)?;
        Ok(self.model.forward(&input, position, cache)?.squeeze(0)?)
    }

    /// Scores of every token of the vocabulary as the next after `tokens`, for comparing this server
    /// with another implementation.
    ///
    /// # Errors
    /// [`EngineError::Compute`] when `tokens` is empty or holds an unknown token.
    pub fn next_token_scores(&self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        Ok(self.logits(tokens, 0, &mut self.empty_cache.clone())?.to_vec1()?)
    }
}

fn choice_of(sampling: Sampling) -> Choice {
    let Sampling { temperature, top_p, top_k, .. } = sampling;
    // Below this the division by the temperature overflows, and nothing but the likeliest is left.
    if temperature < 1e-4 {
        return Choice::ArgMax;
    }
    match (top_k, top_p < 1.0) {
        (0, false) => Choice::All { temperature },
        (0, true) => Choice::TopP { p: top_p, temperature },
        (k, false) => Choice::TopK { k, temperature },
        (k, true) => Choice::TopKThenTopP { k, p: top_p, temperature },
    }
}

fn root_cause(error: &EngineError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
