//! Turns a conversation into one prompt with the model's own template.
//!
//! In: the `chat_template` of `tokenizer_config.json` (Jinja, as in Hugging Face's libraries) and
//! messages. Out: text that already holds the special tokens. The template comes with the model, so
//! it runs with a budget of steps and sees nothing but the messages.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};

use crate::limits::TEMPLATE_FUEL;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `system`, `developer`, `user` or `assistant`.
    pub role: String,
    /// Its text.
    pub content: String,
}

/// A compiled template with the special tokens it may use.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles `source`.
    ///
    /// # Errors
    /// The template is not Jinja, or uses what this engine does not know.
    pub fn compile(source: String, bos: String, eos: String) -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        // Hugging Face's libraries trim the white space around blocks, so templates count on it.
        environment
            .set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_fuel(Some(TEMPLATE_FUEL));
        environment.add_function("raise_exception", raise_exception);
        environment.add_template_owned(NAME, source)?;
        Ok(Self { environment, bos_token: bos, eos_token: eos })
    }

    /// The prompt for `messages`.
    ///
    /// # Errors
    /// The template refuses this order of roles, or runs out of steps.
    pub fn render(&self, messages: &[Message]) -> Result<String, minijinja::Error> {
        let value = |Message { role, content }: &Message| context! { role, content };
        self.environment.get_template(NAME)?.render(context! {
            messages => messages.iter().map(value).collect::<Vec<Value>>(),
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
            add_generation_prompt => true,
        })
    }
}

fn raise_exception(message: String) -> Result<String, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(role: &str, content: &str) -> Message {
        Message { role: role.into(), content: content.into() }
    }

    fn compile(source: &str) -> ChatTemplate {
        ChatTemplate::compile(source.into(), "<s>".into(), "</s>".into()).expect("compiles")
    }

    #[test]
    fn messages_are_laid_out_as_the_template_says() {
        let template = compile(
            "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m.content | trim }}{% endfor %}",
        );
        let prompt =
            template.render(&[said("system", "Be kind. "), said("user", "Who?")]).expect("renders");
        assert_eq!(prompt, "<s>[system]Be kind.[user]Who?");
    }

    #[test]
    fn a_refusal_of_the_template_carries_its_message() {
        let error = compile("{{ raise_exception('roles must alternate') }}")
            .render(&[])
            .expect_err("refuses");
        assert!(error.to_string().contains("roles must alternate"), "{error}");
    }

    #[test]
    fn an_endless_template_is_stopped() {
        let template = compile(
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
        );
        assert_eq!(template.render(&[]).map_err(|error| error.kind()), Err(ErrorKind::OutOfFuel));
    }
}
