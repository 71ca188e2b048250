//! Weights as training frameworks write them, from `clipn inspect` to `clipn train`.

use std::collections::BTreeMap;

use crate::common::snapshot::{assert_text, transcript};
use crate::common::{Sandbox, library_fixture, test_data, text};
use clipn::checkpoint::{Checkpoint, Dtype, Tensor, write_safetensors};
use clipn_testing::{distributed, transformers};
use serde_json::Value;

/// Returns the tensors of a weights file, changed by `edit`.
fn tensors(
    sandbox: &Sandbox,
    edit: impl Fn(&str, Tensor) -> Option<Tensor>,
) -> Vec<(String, Tensor)> {
    let checkpoint = Checkpoint::open(sandbox.path("epoch_10.pt")).unwrap();
    let edited = checkpoint.iter().filter_map(|(name, tensor)| {
        let tensor = edit(name, tensor.clone())?;
        Some((name.to_owned(), tensor))
    });
    edited.collect()
}

fn write(sandbox: &Sandbox, name: &str, tensors: Vec<(String, Tensor)>) {
    let path = sandbox.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    write_safetensors(&path, tensors, &BTreeMap::new()).unwrap();
}

/// Returns the rows of `clipn classify` for weights.
fn rows(sandbox: &Sandbox, weights: &str) -> Vec<Value> {
    let printed = sandbox.done(&[
        "classify",
        "--model",
        "tiny.json",
        "--pretrained",
        weights,
        "--classes",
        "classes.txt",
        "--templates",
        "simple",
        "--logit-scale",
        "trained",
        "--format",
        "json",
        "photos",
    ]);
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_distributed_checkpoint_is_used_like_its_file() {
    let s = Sandbox::new();
    let mut all = tensors(&s, |_, tensor| Some(tensor));
    // As a training program nests and saves them, with the moments of its optimizer.
    for (name, _) in &mut all {
        *name = format!("model.{name}");
    }
    let moment = Tensor::from_f32(&[7, 3], vec![0.0; 21]).unwrap();
    all.push(("optim.state.visual.proj.exp_avg".to_owned(), moment));
    distributed::write(&s.path("fsdp"), &all, 3);
    assert_eq!(rows(&s, "fsdp"), rows(&s, "epoch_10.pt"));

    let inspect = ["inspect", "--format", "json"];
    let inspected = |weights: &str| -> Value {
        serde_json::from_str(&s.done(&[&inspect[..], &[weights]].concat())).unwrap()
    };
    let (joined, file) = (inspected("fsdp"), inspected("epoch_10.pt"));
    assert_eq!(joined["kind"], "PyTorch distributed checkpoint");
    assert_eq!(
        (&joined["files"], &joined["prefix"]),
        (&3.into(), &"model.".into())
    );
    assert_eq!(joined["tensors"], file["tensors"]);
    assert_eq!(joined["architecture"], file["architecture"]);
    assert_eq!(joined["ignored"][0], "optim.state.visual.proj.exp_avg");

    let convert = |weights: &str, to: &str| {
        s.done(&["convert", "--model", "tiny.json", weights, to]);
        Checkpoint::open(s.path(to)).unwrap()
    };
    let joined = convert("fsdp", "joined.safetensors");
    let file = convert("epoch_10.pt", "file.safetensors");
    assert!(joined.iter().eq(file.iter()));
}

#[test]
fn training_starts_from_a_distributed_checkpoint() {
    let s = Sandbox::new();
    s.training_set();
    let train = |name: &str, more: &[&str]| {
        let fixed = [
            "train",
            "--model",
            "small.json",
            "--train-data",
            "captions.tsv",
            "--batch-size",
            "8",
            "--epochs",
            "1",
            "--name",
            name,
        ];
        s.done(&[&fixed[..], more].concat()).trim().to_owned()
    };
    let start = train("start", &["--objective", "clip"]);
    let weights = Checkpoint::open(s.path(&start)).unwrap();
    let own = || weights.iter().map(|(n, t)| (n.to_owned(), t.clone()));
    distributed::write(&s.path("fsdp"), &own().collect::<Vec<_>>(), 2);
    // open_clip stores a logit scale of shape [1] for FSDP, which cannot split a scalar.
    let listed = own().map(|(name, tensor)| match name.as_str() {
        "logit_scale" => (name, tensor.reshaped(&[1]).unwrap()),
        _ => (name, tensor),
    });
    write(&s, "scale.safetensors", listed.collect());
    let trained = |name: &str, weights: &str| {
        let last = train(name, &["--pretrained", weights]);
        let checkpoint = Checkpoint::open(s.path(&last)).unwrap();
        let tensors = checkpoint.iter().map(|(n, t)| (n.to_owned(), t.clone()));
        tensors.collect::<Vec<_>>()
    };
    let expected = trained("file", &start);
    assert!(expected.iter().any(|(name, _)| name == "prompt_no"));
    assert_eq!(trained("joined", "fsdp"), expected);
    assert_eq!(trained("scale", "scale.safetensors"), expected);
}

#[test]
fn a_logit_scale_is_a_scalar_or_a_list_of_one() {
    let s = Sandbox::new();
    let shape = |shape: &'static [usize]| {
        tensors(&s, |name, tensor| match name {
            "logit_scale" => tensor.reshaped(shape),
            _ => Some(tensor),
        })
    };
    write(&s, "scalar.safetensors", shape(&[]));
    write(&s, "list.safetensors", shape(&[1]));
    let scalar = rows(&s, "scalar.safetensors");
    assert_eq!(rows(&s, "list.safetensors"), scalar);
    // A bundle of the one takes classes with the other.
    s.done(&[
        "classifier",
        "build",
        "--model",
        "tiny.json",
        "--pretrained",
        "list.safetensors",
        "--classes",
        "pizza, goldfish",
        "--out",
        "shop.clipn",
    ]);
    let add = [
        "classifier",
        "add",
        "shop.clipn",
        "--classes",
        "cat,",
        "--out",
        "more.clipn",
        "--force",
        "--pretrained",
    ];
    s.done(&[&add[..], &["scalar.safetensors"]].concat());
    // The factor is used: another one gives other scores.
    let changed = tensors(&s, |name, tensor| match name {
        "logit_scale" => Tensor::from_f32(&[1], vec![1.0]).ok(),
        _ => Some(tensor),
    });
    write(&s, "changed.safetensors", changed);
    assert_ne!(rows(&s, "changed.safetensors"), scalar);
    let output = s.clipn(&[&add[..], &["changed.safetensors"]].concat());
    let error = text(&output.stderr);
    assert!(error.contains("different text tower weights"), "{error}");
}

#[test]
fn weights_of_integers_are_refused_by_name() {
    let s = Sandbox::new();
    for (dtype, name) in [
        (Dtype::I8, "i8"),
        (Dtype::U8, "u8"),
        (Dtype::I32, "i32"),
        (Dtype::I64, "i64"),
        (Dtype::Bool, "bool"),
    ] {
        let changed = tensors(&s, |name, tensor| match name {
            "visual.proj" => {
                let bytes = vec![1; tensor.len() * dtype.size()];
                Tensor::from_bytes(dtype, tensor.shape(), bytes).ok()
            }
            _ => Some(tensor),
        });
        write(&s, "integers.safetensors", changed);
        for command in [
            &[
                "classify",
                "--classes",
                "a,b",
                "--pretrained",
                "integers.safetensors",
                "photos",
            ][..],
            &["convert", "integers.safetensors", "out.safetensors"],
        ] {
            let output = s.clipn(&[command, &["--model", "tiny.json"]].concat());
            let error = text(&output.stderr);
            assert!(
                !output.status.success()
                    && error.contains(&format!(
                        "1 of a type that is not floating-point (visual.proj {name})"
                    )),
                "{error}"
            );
        }
    }
}

/// Writes a `CLIPModel` with the names that a quantizer adds for one projection.
fn quantized(sandbox: &Sandbox, directory: &str, added: &[(&str, Dtype)]) {
    let weights = Checkpoint::open(sandbox.path("epoch_10.pt")).unwrap();
    let mut tensors: Vec<_> = transformers::clip_model(&weights).into_iter().collect();
    for (name, dtype) in added {
        let name = format!("vision_model.encoder.layers.0.mlp.fc1.{name}");
        tensors.retain(|(other, _)| *other != name);
        let tensor = Tensor::from_bytes(*dtype, &[1], vec![0; dtype.size()]).unwrap();
        tensors.push((name, tensor));
    }
    write(sandbox, &format!("{directory}/model.safetensors"), tensors);
}

#[test]
fn refusals_say_what_to_do() {
    let s = Sandbox::new();
    // The tensors that transformers 5.24.0 writes with bitsandbytes 0.50.2, and torchao 0.18.0.
    let scale = [
        ("weight", Dtype::I8),
        ("SCB", Dtype::F32),
        ("weight_format", Dtype::U8),
    ];
    quantized(&s, "bnb-8bit", &scale);
    let blocks = [
        ("weight", Dtype::U8),
        ("weight.absmax", Dtype::U8),
        ("weight.quant_state.bitsandbytes__nf4", Dtype::U8),
    ];
    quantized(&s, "bnb-4bit", &blocks);
    let flat = [("_weight_qdata", Dtype::I8), ("_weight_scale", Dtype::F32)];
    quantized(&s, "torchao", &flat);
    let fixture = |name: &str| library_fixture("cases/weights").join(name);
    for name in ["dtensor.pt", "torchao.pt"] {
        std::fs::copy(fixture(&format!("torch/{name}")), s.path(name)).unwrap();
    }
    let copy = |from: &str, to: &str, except: &str| {
        std::fs::create_dir(s.path(to)).unwrap();
        for entry in std::fs::read_dir(fixture(&format!("distributed/{from}"))).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != except {
                std::fs::copy(entry.path(), s.path(to).join(entry.file_name())).unwrap();
            }
        }
    };
    copy("fsdp2", "fsdp", "");
    copy("fsdp2", "without-metadata", ".metadata");
    copy("fsdp2", "one-rank", "__1_0.distcp");
    copy("hf-shards", "ranks", "");
    write(
        &s,
        "sharded/model-00001-of-00002.safetensors",
        tensors(&s, |_, tensor| Some(tensor)),
    );
    let inspect = |weights: &'static str| {
        let arguments = ["inspect", weights];
        let output = s.clipn(&arguments);
        assert!(!output.status.success(), "{weights}");
        transcript(&s, &arguments, &output)
    };
    let transcripts = [
        "bnb-8bit",
        "bnb-4bit",
        "torchao",
        "dtensor.pt",
        "torchao.pt",
        "fsdp/__0_0.distcp",
        "without-metadata",
        "one-rank",
        "ranks/shard-00001-model-00001-of-00001.safetensors",
        "sharded/model-00001-of-00002.safetensors",
    ]
    .map(inspect);
    assert_text("error-weights-forms", &transcripts.join("\n"));
    // The index is named as the one to give, once it is there.
    s.write("sharded/model.safetensors.index.json", "{}");
    let output = s.clipn(&["inspect", "sharded/model-00001-of-00002.safetensors"]);
    let error = text(&output.stderr);
    assert!(
        error.contains("which model.safetensors.index.json lists\nhint: name the index"),
        "{error}"
    );
}

#[test]
fn inspect_shows_a_distributed_checkpoint() {
    let s = Sandbox::new();
    let path = library_fixture("cases/weights/distributed/fsdp2");
    let arguments = ["inspect", path.to_str().unwrap()];
    let printed = s.done(&arguments);
    let root = path.parent().unwrap().to_str().unwrap();
    assert_text(
        "inspect-distributed",
        &printed.replace(root, "[fixtures]").replace('\\', "/"),
    );
}

/// PyTorch's own averaged copy and compiled blocks, under the names of PyTorch 2.15.0.
#[test]
fn an_averaged_model_of_compiled_parts_is_read() {
    let Some(plain) = test_data("cases/formats/weights/plain.pt") else {
        return;
    };
    let s = Sandbox::new();
    let plain = Checkpoint::open(plain).unwrap();
    // `AveragedModel(model)` after `torch.compile` of the image tower and of its first block.
    let compiled = |name: &str| {
        let block = "visual.transformer.resblocks.0.";
        let name = match name.strip_prefix(block) {
            Some(rest) => format!("{block}_orig_mod.{rest}"),
            None => name.to_owned(),
        };
        let name = match name.strip_prefix("visual.") {
            Some(rest) => format!("visual._orig_mod.{rest}"),
            None => name,
        };
        format!("module.{name}")
    };
    let mut tensors: Vec<_> = plain
        .iter()
        .map(|(name, tensor)| (compiled(name), tensor.clone()))
        .collect();
    let count = Tensor::from_i64(&[], &[2]).unwrap();
    tensors.insert(0, ("n_averaged".to_owned(), count));
    write(&s, "averaged.safetensors", tensors);
    let read = Checkpoint::open_model(s.path("averaged.safetensors"), None).unwrap();
    assert_eq!(read.ignored(), ["n_averaged"]);
    assert_eq!(read.len(), plain.len());
    for (name, tensor) in &plain {
        assert_eq!(read.get(name), Some(tensor), "{name}");
    }
}

/// Weights of one image tower with another "no", as of two trainings: rows of both do not mix.
#[test]
fn a_run_resumes_only_with_the_text_towers_and_rows_it_was_started_with() {
    let s = Sandbox::new();
    write(&s, "one.safetensors", tensors(&s, |_, tensor| Some(tensor)));
    let negated = tensors(&s, |name, tensor| {
        if !name.contains("prompt_no") {
            return Some(tensor);
        }
        let values: Vec<f32> = tensor.to_f32().iter().map(|value| -value).collect();
        Some(Tensor::from_f32(tensor.shape(), values).unwrap())
    });
    write(&s, "other.safetensors", negated);
    s.write("list.txt", "noise/0.bmp\nnoise/1.bmp\n");
    let model = ["--model", "tiny.json"];
    for (name, weights) in [("one", "one.safetensors"), ("other", "other.safetensors")] {
        let bundle = format!("{name}.clipn");
        let arguments = ["--pretrained", weights, "--classes", "classes.txt", "--out"];
        s.done(&[&["classifier", "build"][..], &model, &arguments, &[&bundle]].concat());
    }
    let images = [
        "embed",
        "images",
        "noise",
        "--pretrained",
        "one.safetensors",
    ];
    s.done(&[&images[..], &model, &["--output", "noise.npy"]].concat());

    let weights = |name| {
        [
            "--model",
            "tiny.json",
            "--classes",
            "classes.txt",
            "--pretrained",
            name,
        ]
    };
    let (one, other) = (weights("one.safetensors"), weights("other.safetensors"));
    let of_bundle = |name| ["--bundle", name];
    let features = ["--features", "noise.npy"];
    for (output, started, resumed, part) in [
        (
            "weights.jsonl",
            [&one[..], &["--list", "list.txt"]].concat(),
            [&other[..], &["--list", "list.txt"]].concat(),
            "text towers was",
        ),
        (
            "bundles.jsonl",
            [&of_bundle("one.clipn")[..], &["--list", "list.txt"]].concat(),
            [&of_bundle("other.clipn")[..], &["--list", "list.txt"]].concat(),
            "classifier was",
        ),
        (
            "features.jsonl",
            [&one[..], &features].concat(),
            [&other[..], &features].concat(),
            "text towers was",
        ),
        (
            "templates.jsonl",
            [&one[..], &features].concat(),
            [&one[..], &features, &["--templates", "plain"]].concat(),
            "templates was",
        ),
    ] {
        let run = |arguments: &[&str]| {
            let output = ["--output", output, "--resume"];
            s.clipn(&[&["classify"][..], arguments, &output].concat())
        };
        let first = run(&started);
        assert!(first.status.success(), "{}", text(&first.stderr));
        let whole = std::fs::read(s.path(output)).unwrap();
        let refused = run(&resumed);
        let error = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{output}: {error}");
        assert!(error.contains(part), "{output}: {error}");
        assert!(run(&started).status.success());
        assert_eq!(std::fs::read(s.path(output)).unwrap(), whole);
    }
}
