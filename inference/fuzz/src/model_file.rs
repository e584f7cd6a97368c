//! Whatever the bytes of a model file are, reading them ends in a model's description or in a refusal.

#![no_main]

use libfuzzer_sys::fuzz_target;

mod worker;

use worker::gguf::{Gguf, Value};
use worker::model::config::ModelConfig;
use worker::template::ChatTemplate;
use worker::tokenizer::Tokenizer;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = Gguf::read(bytes.to_vec()) else {
        return;
    };
    if let Ok(config) = ModelConfig::read(&file) {
        assert!(config.width > 0 && config.layers > 0);
    }
    if let Some((info, data)) = file.tensor("a") {
        assert!(!data.is_empty() && info.rows > 0 && info.columns > 0);
    }
    if let Ok(tokenizer) = Tokenizer::from_gguf(&file) {
        let text = "It's 12 ṱ 😀\r\n<s>";
        for encoded in [tokenizer.encode(text), tokenizer.encode_with_special(text)] {
            if let Ok(tokens) = encoded {
                assert!(
                    tokens
                        .iter()
                        .all(|&t| (t as usize) < tokenizer.vocabulary())
                );
            }
        }
    }
    if let Some(Value::Text(source)) = file.get("tokenizer.chat_template")
        && let Ok(template) = ChatTemplate::new(source)
    {
        let message = hadada_inference_protocol::Message {
            role: "user".into(),
            content: "x".into(),
        };
        // Refusing is as good as rendering.
        let _ = template.render(&[message], "<s>", "</s>");
    }
});
