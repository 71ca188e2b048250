//! `clipn models`.

use crate::common::{Sandbox, text};
use clipn::model::ModelConfig;
use serde_json::Value;

#[test]
fn lists_every_architecture() {
    let s = Sandbox::new();
    let table = s.done(&["models"]);
    let row = |name: &str| -> Vec<String> {
        let line = table
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in {table}"))
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    ModelConfig::embedded_names().for_each(|name| drop(row(name)));
    let b32 = [
        "ViT-B-32", "224", "87.85", "M", "63.43", "M", "64.06", "M", "8.82", "5.96", "512", "77",
        "22",
    ];
    assert_eq!(row("ViT-B-32"), b32);
    let csv = s.done(&["models", "--format", "csv"]);
    assert_eq!(
        csv.lines().count(),
        1 + ModelConfig::embedded_names().count()
    );
    assert!(
        csv.starts_with("name,image_size,image_parameters,yes_parameters,no_parameters,"),
        "{csv}"
    );
    assert!(
        csv.contains("\nRN50,224,38316896,63690240,64321024,12.22"),
        "{csv}"
    );
    let json: Value = serde_json::from_str(&s.done(&["models", "--format", "json"])).unwrap();
    let all = json.as_array().unwrap();
    assert_eq!(all.len(), ModelConfig::embedded_names().count());
    let l14 = all.iter().find(|one| one["name"] == "ViT-L-14").unwrap();
    assert_eq!(l14["clip_parameters"], 427_616_513);
    assert_eq!(l14["embed_dim"], 768);
}

#[test]
fn shows_one_architecture_in_detail() {
    let s = Sandbox::new();
    let stdout = s.done(&["models", "ViT-B/32"]);
    for part in [
        "model       ViT-B-32\n",
        "activation  GELU",
        "ViT, width 768, 12 blocks, 12 heads, hidden layers of 3072, patches of 32, images of 224 pixels",
        "width 512, 12 blocks, 8 heads, hidden layers of 2048, 77 positions, 49408 ids",
        "CLIP        151,277,313 parameters: image 87,849,216, text 63,428,096, logit scale 1",
        "CLIPN       215,336,193 parameters",
        "861.34 MB in f32, 430.67 MB in f16",
        "8.82 GFLOP per image, 5.96 GFLOP per text of 77 tokens",
    ] {
        assert!(stdout.contains(part), "no {part:?} in {stdout}");
    }
    assert!(!stdout.contains("statistics"));
    let resnet = s.done(&["models", "RN50-quickgelu"]);
    for part in [
        "QuickGELU",
        "ModifiedResNet, width 64, 3 + 4 + 6 + 3 blocks",
        "statistics  53,248 values",
    ] {
        assert!(resnet.contains(part), "no {part:?} in {resnet}");
    }
    assert_eq!(
        s.done(&["models", "RN50", "--format", "csv"])
            .lines()
            .count(),
        2
    );
}

#[test]
fn accepts_custom_configs_and_weights_with_config() {
    let s = Sandbox::new();
    s.write_other_formats();
    let of = |given: &str| -> Value {
        serde_json::from_str(&s.done(&["models", given, "--format", "json"])).unwrap()
    };
    let own = of("tiny.json");
    assert_eq!(own["clipn_parameters"], 1_774_657);
    for given in [
        "clip-transformers",
        "clip-open-clip",
        "logs/tiny/checkpoints/epoch-10",
    ] {
        assert_eq!(of(given)["config"], own["config"], "{given}");
    }
    // The printed config can be used as input.
    s.write("printed.json", own["config"].to_string());
    assert_eq!(of("printed.json")["config"], own["config"]);
}

#[test]
fn rejects_what_is_no_architecture() {
    let s = Sandbox::new();
    for (given, part) in [
        ("ViT-Z-1", "known models: ViT-S-32"),
        ("classes.txt", "not valid JSON"),
    ] {
        let output = s.clipn(&["models", given]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.starts_with("error: ") && error.contains(given) && error.contains(part),
            "{error}"
        );
    }
    let output = s.clipn(&["models", "epoch_10.pt"]);
    assert!(
        text(&output.stderr).contains("unknown architecture"),
        "{}",
        text(&output.stderr)
    );
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Puts the tiny model into the cache, as the weights of open_clip's `ViT-B-16 laion2b_s34b_b88k`.
fn fill_cache(s: &Sandbox) {
    s.write_other_formats();
    let repository = "hf-home/hub/models--laion--CLIP-ViT-B-16-laion2B-s34B-b88K";
    for file in ["open_clip_config.json", "open_clip_model.safetensors"] {
        let bytes = std::fs::read(s.path("clip-open-clip").join(file)).unwrap();
        s.write(&format!("{repository}/snapshots/{COMMIT}/{file}"), bytes);
    }
    s.write(&format!("{repository}/refs/main"), COMMIT);
    s.write(&format!("{repository}/blobs/abc.incomplete"), [0; 1500]);
}

#[test]
fn lists_tags_with_their_sources_and_cached_weights() {
    let s = Sandbox::new();
    let stdout = s.done(&["models", "ViT-B-16"]);
    assert!(
        stdout.contains("tags        15 for --pretrained, 0 of them cached\n"),
        "{stdout}"
    );
    fill_cache(&s);
    let stdout = s.done(&["models", "ViT-B-16"]);
    for part in [
        "15 for --pretrained, 1 of them cached",
        "laion2b_s34b_b88k           yes     ViT-B-16            hf-hub:laion/CLIP-ViT-B-16-laion2B-s34B-b88K\n",
        "openai                      no      ViT-B-16-quickgelu  https://",
        "\nSHA-256 of openai: 5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f\n",
        "\nlaion2b_s34b_b88k is cached in ",
    ] {
        assert!(stdout.contains(part), "no {part:?} in {stdout}");
    }
    let json: Value =
        serde_json::from_str(&s.done(&["models", "ViT-B-16", "--format", "json"])).unwrap();
    let tags = json["pretrained"].as_array().unwrap();
    let by_tag = |wanted: &str| tags.iter().find(|tag| tag["tag"] == wanted).unwrap();
    assert_eq!((json["tags"].as_u64(), tags.len()), (Some(15), 15));
    assert!(
        by_tag("laion2b_s34b_b88k")["cached"]
            .as_str()
            .unwrap()
            .ends_with(COMMIT)
    );
    assert!(
        by_tag("openai")["cached"].is_null() && by_tag("laion2b_s34b_b88k")["sha256"].is_null()
    );
    assert_eq!(by_tag("openai")["sha256"].as_str().unwrap().len(), 64);

    // A custom config has no tags.
    assert!(!s.done(&["models", "tiny.json"]).contains("\ntags "));
    let csv = s.done(&["models", "--format", "csv"]);
    let of = |name: &str| {
        csv.lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .rsplit(',')
            .next()
            .unwrap()
    };
    assert_eq!(
        [of("ViT-B-16,"), of("ViT-B-16-quickgelu,"), of("ViT-S-32,")],
        ["15", "4", "0"]
    );
}

#[test]
fn lists_the_cache_in_each_format() {
    let s = Sandbox::new();
    let empty = s.done(&["models", "--cache"]);
    assert!(
        empty.contains("no weights in ") && empty.contains("hf-home/hub"),
        "{empty}"
    );
    assert_eq!(
        s.done(&["models", "--cache", "--format", "csv"])
            .lines()
            .count(),
        1
    );
    fill_cache(&s);
    let table = s.done(&["models", "--cache"]);
    for part in [
        "hf-hub:laion/CLIP-ViT-B-16-laion2B-s34B-b88K  ViT-B-16 laion2b_s34b_b88k  main (0123456789ab)  ",
        "    2  ",
        "  yes\n",
        "\nIncomplete downloads: 1 file, 1.50 kB.\n",
    ] {
        assert!(table.contains(part), "no {part:?} in {table}");
    }
    let csv = s.done(&["models", "--cache", "--format", "csv"]);
    let row = format!("laion/CLIP-ViT-B-16-laion2B-s34B-b88K,{COMMIT},main,2,");
    assert!(
        csv.starts_with("name,revision,refs,files,bytes,is_whole,tags,path,broken_links\n")
            && csv.contains(&row),
        "{csv}"
    );
    let json: Value =
        serde_json::from_str(&s.done(&["models", "--cache", "--format", "json"])).unwrap();
    let one = &json["weights"][0];
    assert_eq!(
        (one["is_whole"].as_bool(), one["tags"][0].as_str()),
        (Some(true), Some("ViT-B-16 laion2b_s34b_b88k"))
    );
    assert_eq!(json["unfinished"]["bytes"], 1500);

    // The listed paths open, also if HF_HUB_CACHE moves the cache.
    let hub = s.path("elsewhere");
    std::fs::rename(s.path("hf-home/hub"), &hub).unwrap();
    let output = s
        .command("http://127.0.0.1:1", &["models", "--cache"])
        .env("HF_HUB_CACHE", &hub)
        .output()
        .unwrap();
    assert!(
        text(&output.stdout).contains("elsewhere/models--laion"),
        "{}",
        text(&output.stdout)
    );
    let listed = one["path"]
        .as_str()
        .unwrap()
        .replace("hf-home/hub", "elsewhere");
    assert!(s.done(&["inspect", &listed]).contains("open_clip hub"));
    let output = s.clipn(&["models", "--cache", "ViT-B-16"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}
