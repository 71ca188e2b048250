pub mod prompts;
pub mod tokenizer;
