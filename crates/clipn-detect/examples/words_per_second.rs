//! Times the text tower of ViT-B-32 with random weights on a list of words, one a line; then the choice
//! among as many rows for 1,000 classes, and the rounding to f16 that a cache does:
//!
//! ```text
//! cargo run --release -p clipn-detect --example words_per_second -- WORDS [COUNT]
//! ```

use std::time::{Duration, Instant};

use clipn_base::progress::NoProgress;
use clipn_detect::negatives::choice::{Choice, Grouping};
use clipn_detect::negatives::{Negatives, NegativesOrigin, TemplateJoin, encode_words};
use clipn_engine::{TextEncoder, peak_gemm_flops};
use clipn_model::{ModelConfig, normalize_row};
use clipn_testing::random::Random;
use clipn_text::prompts::Template;
use clipn_text::tokenizer::Tokenizer;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: words_per_second WORDS [COUNT]")?;
    let text = std::fs::read_to_string(path)?;
    let all: Vec<String> = text.lines().map(str::to_owned).collect();
    let count: usize = arguments.next().map_or(Ok(7000), |count| count.parse())?;
    // Spread over the list: sorted words share more of their tokens with their neighbors in the
    // whole list than in a part of it.
    let step = (all.len() / count.max(1)).max(1);
    let words: Vec<String> = all.iter().step_by(step).take(count).cloned().collect();

    let config = ModelConfig::embedded("ViT-B-32")?;
    let tower = TextEncoder::new(&config, Random::new(1).text(&config, 0));
    let template = Template::parse("The nice {}.")?;

    let positions = |words: &[String]| positions_to_compute(words, &template);
    let (all_positions, own_positions) = (positions(&all), positions(&words));
    let started = Instant::now();
    let rows = encode_words(
        &words,
        std::slice::from_ref(&template),
        TemplateJoin::default(),
        &tower,
        &NoProgress,
    )?;
    let seconds = started.elapsed().as_secs_f64();
    let peak = peak_gemm_flops(Duration::from_millis(500));
    let flops = config.text_flops(1) * own_positions as f64 / seconds;
    println!(
        "{} of {} words in {seconds:.1} s, {:.0} words a second",
        rows.len() / config.embed_dim,
        all.len(),
        words.len() as f64 / seconds
    );
    println!(
        "{:.2} positions a word, {:.0} GFLOP/s; matrix products alone reach {:.0} GFLOP/s",
        own_positions as f64 / words.len() as f64,
        flops / 1e9,
        peak / 1e9
    );
    println!(
        "all words have {:.2} positions a word and take {:.0} s",
        all_positions as f64 / all.len() as f64,
        seconds * all_positions as f64 / own_positions as f64
    );
    let dim = config.embed_dim;
    let unit = |count: usize| {
        let mut rows: Vec<f32> = Random::new(2).values(count * dim, 1.0);
        rows.chunks_exact_mut(dim).for_each(normalize_row);
        rows
    };
    let (nouns, classes) = (unit(all.len()), unit(1000));
    let started = Instant::now();
    let chosen = Choice::default().choose(&nouns, &[], &classes, dim)?;
    println!(
        "{} of {} words chosen for 1,000 classes in {:.2} s",
        chosen.nouns.len(),
        all.len(),
        started.elapsed().as_secs_f64()
    );
    let started = Instant::now();
    let origin = NegativesOrigin::user_list(Vec::new(), TemplateJoin::default(), Grouping::Single);
    let negatives = Negatives::new(all.clone(), &nouns, vec![all.len()], origin)?;
    println!(
        "{} rows rounded to f16 and read again in {:.2} s",
        negatives.len(),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Number of positions of all texts without the prefixes that they share with the text before.
fn positions_to_compute(words: &[String], template: &Template) -> usize {
    let ids = |word: &String| Tokenizer::clip().encode(&template.fill(word));
    let mut texts: Vec<Vec<u32>> = words.iter().map(ids).collect();
    texts.sort();
    let mut before: &[u32] = &[];
    let mut positions = 0;
    for text in &texts {
        let shared = text.iter().zip(before).take_while(|(a, b)| a == b).count();
        // And the end of the text.
        positions += text.len() - shared + 1;
        before = text;
    }
    positions
}
