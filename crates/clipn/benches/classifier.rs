//! Building a classifier from ImageNet class names and the published templates, with both text
//! towers of ViT-B-32: `cargo bench -p clipn --bench classifier`. Items are pairs of a name and a
//! template.
#![allow(clippy::unwrap_used)]

mod common;

use clipn::classifier::ClassifierBuilder;
use clipn::prompts::{ClassNames, TemplateSet};
use common::text_encoder;
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

/// Numbers of names and templates, sampled evenly from all.
#[divan::bench(args = [(125, 8), (8, 128)], sample_count = 5, sample_size = 1)]
fn names_and_templates(bencher: Bencher<'_, '_>, (names, template_count): (usize, usize)) {
    let (all_names, all) = (
        ClassNames::built_in("imagenet-1k").unwrap(),
        TemplateSet::built_in("clipn").unwrap(),
    );
    let chosen: Vec<String> = all_names
        .names()
        .iter()
        .step_by(1000 / names)
        .take(names)
        .cloned()
        .collect();
    let templates = all
        .yes()
        .iter()
        .step_by(128 / template_count)
        .take(template_count)
        .cloned()
        .collect();
    let templates = TemplateSet::new("sample", templates, None).unwrap();
    let (yes, no) = (text_encoder(0), text_encoder(16));
    let builder = ClassifierBuilder::new(chosen).with_templates(templates);
    bencher
        .counter(ItemsCount::new(names * template_count))
        .bench(|| builder.build_with_towers(&yes, Some(&no)).unwrap());
}
