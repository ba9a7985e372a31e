//! Requests of the OpenAI API as types: parsed once, every number in range, nothing silently ignored.
//!
//! In: a body. Out: [`Wanted`], a [`Job`] and how its answer shall look. A member that this server does
//! not implement is refused unless it has its default value, so that nobody takes an ignored
//! `logprobs` or `tools` for a served one.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::error::ApiError;
use crate::chat_template::Message;
use crate::engine::Engine;
use crate::job::{Job, Prompt, Sampling};
use crate::limits::{MAX_MESSAGES, MAX_STOP_BYTES, MAX_STOPS};

/// A completion, and the form of its answer.
#[derive(Debug, PartialEq)]
pub struct Wanted {
    /// What to compute.
    pub job: Job,
    /// How to answer.
    pub delivery: Delivery,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// One JSON document at the end.
    Whole,
    /// An event a piece of text.
    Stream,
    /// The same, with one more event for the token counts.
    StreamWithUsage,
}

#[derive(Deserialize)]
struct CompletionBody {
    prompt: Option<PromptBody>,
    #[serde(flatten)]
    shared: SharedBody,
}

#[derive(Deserialize)]
struct ChatBody {
    messages: Option<Vec<MessageBody>>,
    max_completion_tokens: Option<usize>,
    #[serde(flatten)]
    shared: SharedBody,
}

#[derive(Deserialize)]
struct SharedBody {
    model: Option<String>,
    max_tokens: Option<usize>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<i64>,
    seed: Option<i64>,
    stop: Option<OneOrMany>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "`prompt` must be a string, a list with one string, or a list of token numbers"
)]
enum PromptBody {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`stop` must be a string or a list of strings")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct MessageBody {
    role: String,
    content: ContentBody,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "`content` must be a string or a list of {\"type\": \"text\", \"text\": …}"
)]
enum ContentBody {
    Text(String),
    Parts(Vec<TextPart>),
}

#[derive(Deserialize)]
struct TextPart {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

/// Members of the API that may be there with a value that changes nothing. `null` always may.
const HARMLESS: [(&str, &[&str]); 17] = [
    ("n", &["1"]),
    ("best_of", &["1"]),
    ("echo", &["false"]),
    ("frequency_penalty", &["0", "0.0"]),
    ("presence_penalty", &["0", "0.0"]),
    ("logit_bias", &["{}"]),
    ("logprobs", &["false"]),
    ("top_logprobs", &[]),
    ("suffix", &["\"\""]),
    ("tools", &["[]"]),
    ("tool_choice", &["\"none\"", "\"auto\""]),
    ("parallel_tool_calls", &["true", "false"]),
    ("response_format", &["{\"type\":\"text\"}"]),
    ("modalities", &["[\"text\"]"]),
    ("store", &["false"]),
    ("service_tier", &["\"auto\"", "\"default\""]),
    ("stream_options", &[]),
];

/// Members that say who asks, and change no answer.
const NOTES: [&str; 5] = ["user", "metadata", "safety_identifier", "prompt_cache_key", "verbosity"];

/// Reads the body of `POST /v1/completions`.
///
/// # Errors
/// A 400 that names the member, or a 404 for another model.
pub fn completion(body: &[u8], model_name: &str, engine: &Engine) -> Result<Wanted, ApiError> {
    let body: CompletionBody =
        serde_json::from_slice(body).map_err(|reason| ApiError::malformed(&reason))?;
    body.shared.for_model(model_name)?;
    let prompt = match body.prompt.ok_or_else(|| ApiError::missing("prompt"))? {
        PromptBody::Text(text) => Prompt::Text(text),
        PromptBody::Tokens(tokens) => Prompt::Tokens(tokens),
        PromptBody::Texts(texts) => match <[String; 1]>::try_from(texts) {
            Ok([text]) => Prompt::Text(text),
            Err(texts) => {
                let message = format!(
                    "`prompt` has {} texts; this server completes one a request",
                    texts.len()
                );
                return Err(ApiError::value("prompt", message));
            }
        },
    };
    // The API's default is 16 for this endpoint alone.
    let max_tokens = Some(body.shared.max_tokens.unwrap_or(16));
    body.shared.into_wanted(prompt, max_tokens, engine)
}

/// Reads the body of `POST /v1/chat/completions` and lays the conversation out with the model's template.
///
/// # Errors
/// A 400 that names the member, or a 404 for another model.
pub fn chat(body: &[u8], model_name: &str, engine: &Engine) -> Result<Wanted, ApiError> {
    let body: ChatBody =
        serde_json::from_slice(body).map_err(|reason| ApiError::malformed(&reason))?;
    body.shared.for_model(model_name)?;
    let messages = body.messages.ok_or_else(|| ApiError::missing("messages"))?;
    if messages.is_empty() || messages.len() > MAX_MESSAGES {
        let message =
            format!("`messages` has {} messages; expected 1 to {MAX_MESSAGES}", messages.len());
        return Err(ApiError::value("messages", message));
    }
    let messages =
        messages.into_iter().map(MessageBody::into_message).collect::<Result<Vec<_>, _>>()?;
    let Some(template) = engine.template() else {
        let message = "this model has no chat template; use /v1/completions".to_owned();
        return Err(ApiError::value("messages", message));
    };
    let rendered = template.render(&messages).map_err(|reason| {
        ApiError::value(
            "messages",
            format!("the model's chat template refuses this conversation: {reason}"),
        )
    })?;
    let max_tokens = body.max_completion_tokens.or(body.shared.max_tokens);
    body.shared.into_wanted(Prompt::Rendered(rendered), max_tokens, engine)
}

impl MessageBody {
    fn into_message(self) -> Result<Message, ApiError> {
        if !matches!(self.role.as_str(), "system" | "developer" | "user" | "assistant") {
            let message =
                "the role of a message must be system, developer, user or assistant".to_owned();
            return Err(ApiError::value("messages", message));
        }
        let content = match self.content {
            ContentBody::Text(text) => text,
            ContentBody::Parts(parts) => {
                let texts = parts.into_iter().map(|part| match (part.kind.as_str(), part.text) {
                    ("text", Some(text)) => Ok(text),
                    _ => Err(ApiError::value("messages", "this model reads text only".to_owned())),
                });
                texts.collect::<Result<String, _>>()?
            }
        };
        Ok(Message { role: self.role, content })
    }
}

impl SharedBody {
    /// Is this a request for our model that we can serve in full?
    fn for_model(&self, model_name: &str) -> Result<(), ApiError> {
        match &self.model {
            None => return Err(ApiError::missing("model")),
            Some(name) if name != model_name => {
                return Err(ApiError::no_such_model(name, model_name));
            }
            Some(_) => {}
        }
        for (name, value) in &self.rest {
            if value.is_null() || NOTES.contains(&name.as_str()) {
                continue;
            }
            match HARMLESS.iter().find(|(known, _)| known == name) {
                None => return Err(ApiError::unknown(name)),
                Some((_, accepted)) if accepted.contains(&value.to_string().as_str()) => {}
                Some((_, accepted)) => {
                    return Err(ApiError::unsupported(name, accepted.first().unwrap_or(&"null")));
                }
            }
        }
        Ok(())
    }

    fn into_wanted(
        self,
        prompt: Prompt,
        max_tokens: Option<usize>,
        engine: &Engine,
    ) -> Result<Wanted, ApiError> {
        if max_tokens == Some(0) {
            return Err(ApiError::value(
                "max_tokens",
                "`max_tokens` is 0; expected 1 or more".to_owned(),
            ));
        }
        let seed = match self.seed {
            Some(seed) => seed.cast_unsigned(),
            None => getrandom::u64().map_err(|_| ApiError::internal())?,
        };
        let mut sampling = Sampling::recommended(engine.sampling(), seed);
        if let Some(temperature) = self.temperature {
            sampling.temperature = in_range("temperature", temperature, 0.0, 2.0)?;
        }
        if let Some(top_p) = self.top_p {
            // 0 would leave no token to choose; the likeliest is what it must mean.
            sampling.top_p = in_range("top_p", top_p, 0.0, 1.0)?.max(f64::MIN_POSITIVE);
        }
        if let Some(top_k) = self.top_k {
            // vLLM and its clients write -1 for "all".
            sampling.top_k = usize::try_from(top_k.max(0)).unwrap_or(0);
        }
        let delivery = match (self.stream.unwrap_or(false), self.stream_options) {
            (false, None) => Delivery::Whole,
            (false, Some(_)) => {
                let message = "`stream_options` is only allowed with `stream`: true".to_owned();
                return Err(ApiError::value("stream_options", message));
            }
            (true, Some(StreamOptions { include_usage: Some(true) })) => Delivery::StreamWithUsage,
            (true, _) => Delivery::Stream,
        };
        let stops = stops(self.stop)?;
        Ok(Wanted { job: Job { prompt, max_tokens, sampling, stops }, delivery })
    }
}

fn in_range(param: &str, value: f64, least: f64, most: f64) -> Result<f64, ApiError> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(ApiError::value(param, format!("`{param}` is {value}; expected {least} to {most}")))
}

fn stops(stop: Option<OneOrMany>) -> Result<Vec<String>, ApiError> {
    let stops = match stop {
        None => Vec::new(),
        Some(OneOrMany::One(one)) => vec![one],
        Some(OneOrMany::Many(many)) => many,
    };
    if stops.len() > MAX_STOPS
        || stops.iter().any(|stop| stop.is_empty() || stop.len() > MAX_STOP_BYTES)
    {
        let message =
            format!("`stop` takes up to {MAX_STOPS} strings of 1 to {MAX_STOP_BYTES} bytes");
        return Err(ApiError::value("stop", message));
    }
    Ok(stops)
}
