//! Devices: what is there, and, with the features `gpu` and `cuda`, the same results on a GPU.

use crate::common::{Sandbox, text, with_model};
use clipn::bundle::Bundle;
use clipn::model::Precision;
use serde_json::Value;

#[test]
fn devices_lists_the_cpu_first() {
    let s = Sandbox::new();
    let table = s.done(&["devices"]);
    let mut lines = table.lines();
    let headings: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(headings, ["device", "name", "kind", "precisions"]);
    assert!(lines.next().unwrap().starts_with("cpu"), "{table}");
    let json: Value = serde_json::from_str(&s.done(&["devices", "--format", "json"])).unwrap();
    assert_eq!(json[0]["device"], "cpu");
    assert_eq!(json[0]["precisions"], "f32, int8");
    assert!(
        s.done(&["devices", "--format", "csv"])
            .starts_with("device,name,kind,precisions")
    );
}

#[test]
fn auto_is_the_cpu_without_a_gpu() {
    let s = Sandbox::new();
    // Software that looks like a GPU is not taken either, so that this holds on every CI machine.
    let output = s.done(&with_model(
        "classify",
        &["--classes", "a,b", "--device", "auto", "photos"],
    ));
    assert!(!output.is_empty());
}

fn classified(s: &Sandbox, bundle: &str, more: &[&str]) -> (Vec<Value>, String) {
    let arguments = ["classify", "--bundle", bundle, "--format", "json", "id"];
    let output = s.clipn(&[&arguments[..], more].concat());
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    let rows = text(&output.stdout);
    let rows = rows.lines().map(|line| serde_json::from_str(line).unwrap());
    (rows.collect(), error)
}

fn build(s: &Sandbox, out: &str, more: &[&str]) {
    let arguments = [
        "classifier",
        "build",
        "--classes",
        "classes.txt",
        "--out",
        out,
    ];
    let model = ["--model", "tiny.json", "--pretrained", "epoch_10.pt"];
    s.done(&[&arguments[..], &model, more].concat());
}

#[test]
fn a_bundle_in_a_precision_of_gpus_is_computed_in_f32_on_the_cpu_with_a_warning() {
    let s = Sandbox::new();
    build(&s, "f32.clipn", &["--with-model"]);
    let bundle = Bundle::open(s.path("f32.clipn")).unwrap();
    let in_bf16 = bundle.with_precision(Precision::Bf16);
    in_bf16.write(s.path("bf16.clipn")).unwrap();
    let (expected, silent) = classified(&s, "f32.clipn", &[]);
    assert!(!silent.contains("bf16"), "{silent}");
    let (rows, warning) = classified(&s, "bf16.clipn", &[]);
    assert_eq!(rows, expected);
    let message = "bf16.clipn was built in bf16, in which cpu does not compute";
    assert!(warning.contains(message), "{warning}");
    // Nothing is guessed if the precision is given.
    let (rows, silent) = classified(&s, "bf16.clipn", &["--precision", "f32"]);
    assert_eq!(rows, expected);
    assert!(!silent.contains("does not compute"), "{silent}");
}

#[test]
fn the_cpu_refuses_a_precision_of_gpus_and_training_refuses_int8() {
    let s = Sandbox::new();
    let classify = [
        "classify",
        "--classes",
        "a,b",
        "--precision",
        "bf16",
        "photos",
    ];
    let train = [
        "train",
        "--model",
        "tiny.json",
        "--train-data",
        "captions.tsv",
        "--precision",
        "int8",
    ];
    for (arguments, message) in [
        (&classify[..], "cpu does not compute in bf16"),
        (&train[..], "training does not compute in int8"),
    ] {
        let output = s.clipn(arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(message), "{error}");
    }
    let output = s.clipn(&["inspect", "epoch_10.pt", "--precision", "int8"]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("no effect without images"), "{error}");
}

#[cfg(not(feature = "gpu"))]
#[test]
fn a_device_that_this_build_lacks_is_an_error_with_advice() {
    let s = Sandbox::new();
    for (device, feature) in [("gpu", "gpu"), ("cuda:1", "cuda")] {
        if cfg!(feature = "cuda") && feature == "cuda" {
            continue;
        }
        let arguments = ["--classes", "a,b", "--device", device, "photos"];
        let output = s.clipn(&with_model("classify", &arguments));
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.contains(&format!("no support for {feature} devices")),
            "{error}"
        );
        assert!(error.contains(&format!("--features {feature}")), "{error}");
    }
}

#[cfg(feature = "gpu")]
mod on_a_gpu {
    use super::*;

    /// Whether there is an adapter; prints why a test skips without one.
    fn has_adapter() -> bool {
        let there_is = !clipn::gpu::adapters().is_empty();
        if !there_is {
            eprintln!("skipped: no Vulkan, Metal or DirectX 12 device");
        }
        there_is
    }

    fn eval(s: &Sandbox, more: &[&str]) -> Value {
        let sets = ["--id", "id", "--ood", "noise=noise", "--format", "json"];
        serde_json::from_str(&s.done(&with_model("eval", &[&sets[..], more].concat()))).unwrap()
    }

    #[test]
    fn eval_gives_the_table_of_the_cpu() {
        if !has_adapter() {
            return;
        }
        let s = Sandbox::new();
        let cpu = eval(&s, &[]);
        let gpu = eval(&s, &["--device", "gpu:0"]);
        assert_eq!(gpu["settings"]["device"], "gpu:0");
        assert_eq!(gpu["settings"]["precision"], "f32");
        assert_eq!(gpu["accuracy"], cpu["accuracy"]);
        let rows = |report: &Value| report["results"].as_array().unwrap().clone();
        for (gpu, cpu) in rows(&gpu).iter().zip(rows(&cpu)) {
            for figure in ["auroc", "fpr95", "aupr_in", "aupr_out"] {
                let (found, expected) = (&gpu[figure], &cpu[figure]);
                let error = (found.as_f64().unwrap() - expected.as_f64().unwrap()).abs();
                assert!(error < 1e-4, "{figure}: {found}, expected {expected}");
            }
        }
        let half = eval(&s, &["--device", "gpu:0", "--precision", "f16"]);
        assert_eq!(half["settings"]["precision"], "f16");
    }

    #[test]
    fn classify_labels_as_the_cpu() {
        if !has_adapter() {
            return;
        }
        let s = Sandbox::new();
        let run = |device: &str| {
            let arguments = ["--classes", "classes.txt", "--device", device, "id"];
            let rows = s.done(&with_model(
                "classify",
                &[&arguments[..], &["--format", "json"]].concat(),
            ));
            let label = |line: &str| {
                let row: Value = serde_json::from_str(line).unwrap();
                (row["image"].clone(), row["label"].clone())
            };
            rows.lines().map(label).collect::<Vec<_>>()
        };
        let cpu = run("cpu");
        assert_eq!(cpu.len(), 12);
        assert_eq!(run("gpu:0"), cpu);
    }

    #[test]
    fn a_bundle_is_computed_in_the_precision_that_it_was_built_in() {
        if !has_adapter() {
            return;
        }
        let s = Sandbox::new();
        let gpu = ["--device", "gpu:0"];
        let half = [&gpu[..], &["--precision", "f16"]].concat();
        build(&s, "half.clipn", &[&half[..], &["--with-model"]].concat());
        let show = s.done(&["classifier", "show", "half.clipn"]);
        assert!(show.contains("precision    f16"), "{show}");
        let (own, warning) = classified(&s, "half.clipn", &gpu);
        assert!(!warning.contains("f32"), "{warning}");
        assert_eq!(classified(&s, "half.clipn", &half).0, own);
        let full = [&gpu[..], &["--precision", "f32"]].concat();
        assert_ne!(classified(&s, "half.clipn", &full).0, own);
        // New classes are encoded in it, too.
        let add = ["classifier", "add", "half.clipn", "--classes", "zebra"];
        let weights = ["--pretrained", "epoch_10.pt", "--out", "more.clipn"];
        s.done(&[&add[..], &weights, &gpu].concat());
        let show = s.done(&["classifier", "show", "more.clipn"]);
        assert!(show.contains("precision    f16"), "{show}");
    }

    #[test]
    fn inspect_compares_f16_with_f32() {
        if !has_adapter() {
            return;
        }
        let s = Sandbox::new();
        let model = ["inspect", "epoch_10.pt", "--model", "tiny.json"];
        let images = [
            "--images",
            "photos",
            "--device",
            "gpu:0",
            "--precision",
            "f16",
        ];
        let json = s.done(&[&model[..], &images, &["--format", "json"]].concat());
        let found: Value = serde_json::from_str(&json).unwrap();
        let least = found["precision"]["least_cosine"].as_f64().unwrap();
        // Rounding hides what f16 changes in so small a model.
        assert!(least > 0.999 && least <= 1.0, "{least}");
    }

    #[test]
    fn an_adapter_that_is_not_there_is_an_error_that_lists_those_that_are() {
        let s = Sandbox::new();
        let arguments = ["--classes", "a,b", "--device", "gpu:99", "photos"];
        let output = s.clipn(&with_model("classify", &arguments));
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("no device gpu:99"), "{error}");
        assert!(error.contains("clipn devices"), "{error}");
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn missing_libraries_of_cuda_are_named() {
        let s = Sandbox::new();
        let arguments = ["--classes", "a,b", "--device", "cuda", "photos"];
        let output = s.clipn(&with_model("classify", &arguments));
        if output.status.success() {
            eprintln!("skipped: this machine has CUDA");
            return;
        }
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(!error.contains("panicked"), "{error}");
        assert!(
            error.contains("missing libraries of CUDA") || error.contains("no device"),
            "{error}"
        );
    }

    fn losses(s: &Sandbox, name: &str) -> Vec<f64> {
        let log = std::fs::read_to_string(s.path(&format!("logs/{name}/log.jsonl"))).unwrap();
        let loss = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["losses"]["total"].as_f64().unwrap()
        };
        log.lines().map(loss).collect()
    }

    /// Twenty steps, stopped in between, have the losses of the CPU; the run resumes on either device.
    #[test]
    fn training_has_the_losses_of_the_cpu_and_resumes_anywhere() {
        if !has_adapter() {
            return;
        }
        let s = Sandbox::new();
        s.training_set();
        let run = |name: &str, device: &str, more: &[&str]| {
            let arguments = [
                "train",
                "--model",
                "small.json",
                "--objective",
                "clip",
                "--train-data",
                "captions.tsv",
                "--batch-size",
                "8",
                "--workers",
                "2",
                "--lr",
                "1e-3",
                "--name",
                name,
                "--device",
                device,
            ];
            s.done(&[&arguments[..], more].concat())
        };
        run("cpu", "cpu", &["--epochs", "4"]);
        run("gpu", "gpu:0", &["--epochs", "4"]);
        let (cpu, gpu) = (losses(&s, "cpu"), losses(&s, "gpu"));
        assert!(
            cpu.len() >= 20 && cpu.len() == gpu.len(),
            "{} steps",
            cpu.len()
        );
        for (step, (found, expected)) in gpu.iter().zip(&cpu).enumerate() {
            let error = (found / expected - 1.0).abs();
            assert!(error < 1e-4, "step {step}: {found}, expected {expected}");
        }
        let checkpoint = "logs/gpu/checkpoints/epoch-2";
        for device in ["cpu", "gpu:0"] {
            let name = format!("resumed-{}", &device[..3]);
            run(&name, device, &["--epochs", "4", "--resume", checkpoint]);
            let resumed = losses(&s, &name);
            assert!(resumed.len() >= gpu.len() / 2, "{} steps", resumed.len());
            for (found, expected) in resumed.iter().rev().zip(gpu.iter().rev()) {
                let error = (found / expected - 1.0).abs();
                assert!(error < 1e-4, "{device}: {found}, expected {expected}");
            }
        }
    }
}
