//! The documents of the OpenAI API: one completion, or the chunks of a stream.

use serde_json::{Value, json};

use crate::job::{Finish, FinishReason};

/// Which endpoint answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `/v1/completions`.
    Completion,
    /// `/v1/chat/completions`.
    Chat,
}

impl Kind {
    /// How ids of its answers begin.
    pub fn id_prefix(self) -> &'static str {
        match self {
            Self::Completion => "cmpl",
            Self::Chat => "chatcmpl",
        }
    }
}

/// What all parts of one answer have in common.
#[derive(Debug, Clone)]
pub struct Heading {
    /// Which endpoint answers.
    pub kind: Kind,
    /// Unique for this answer.
    pub id: String,
    /// Unix time in seconds.
    pub created: u64,
    /// The model's name.
    pub model: String,
}

impl Heading {
    /// The whole answer.
    pub fn whole(&self, text: &str, finish: Finish) -> Value {
        let reason = finish.reason.as_str();
        let (object, choice) = match self.kind {
            Kind::Completion => (
                "text_completion",
                json!({ "index": 0, "text": text, "logprobs": null, "finish_reason": reason }),
            ),
            Kind::Chat => (
                "chat.completion",
                json!({
                    "index": 0,
                    "message": { "role": "assistant", "content": text, "refusal": null },
                    "logprobs": null,
                    "finish_reason": reason,
                }),
            ),
        };
        self.document(object, json!([choice]), usage(finish))
    }

    /// The first chunk of a conversation's stream, which names the role; completions have none.
    pub fn first_chunk(&self) -> Option<Value> {
        match self.kind {
            Kind::Completion => None,
            Kind::Chat => Some(self.chunk(json!({ "role": "assistant", "content": "" }), None)),
        }
    }

    /// A chunk with the next piece of text.
    pub fn text_chunk(&self, text: &str) -> Value {
        match self.kind {
            Kind::Completion => self.chunk(json!(text), None),
            Kind::Chat => self.chunk(json!({ "content": text }), None),
        }
    }

    /// The chunk that says why the text ended.
    pub fn last_chunk(&self, reason: FinishReason) -> Value {
        match self.kind {
            Kind::Completion => self.chunk(json!(""), Some(reason)),
            Kind::Chat => self.chunk(json!({}), Some(reason)),
        }
    }

    /// The chunk with the token counts, which has no choices.
    pub fn usage_chunk(&self, finish: Finish) -> Value {
        self.document(self.chunk_object(), json!([]), usage(finish))
    }

    fn chunk(&self, content: Value, reason: Option<FinishReason>) -> Value {
        let member = match self.kind {
            Kind::Completion => "text",
            Kind::Chat => "delta",
        };
        let reason = reason.map(FinishReason::as_str);
        let choice =
            json!({ "index": 0, member: content, "logprobs": null, "finish_reason": reason });
        self.document(self.chunk_object(), json!([choice]), Value::Null)
    }

    fn chunk_object(&self) -> &'static str {
        match self.kind {
            Kind::Completion => "text_completion",
            Kind::Chat => "chat.completion.chunk",
        }
    }

    fn document(&self, object: &str, choices: Value, usage: Value) -> Value {
        let Self { id, created, model, .. } = self;
        json!({ "id": id, "object": object, "created": created, "model": model, "choices": choices, "usage": usage })
    }
}

fn usage(finish: Finish) -> Value {
    let Finish { prompt_tokens, completion_tokens, .. } = finish;
    json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    })
}
