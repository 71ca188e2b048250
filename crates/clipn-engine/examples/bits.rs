use clipn_engine::*;
use clipn_model::*;
use clipn_testing::random::Random;
use clipn_text::tokenizer::TokenBatch;

fn hash(h: &mut u64, values: &[f32]) {
    for v in values {
        *h = (*h ^ u64::from(v.to_bits())).wrapping_mul(0x100_0000_01b3);
    }
}

fn main() {
    let mut h = 0xcbf2_9ce4_8422_2325u64;
    let mut r = Random::new(77);
    let mut pick = |from: usize, to: usize| from + (r.next() as usize) % (to - from);
    for case in 0..40u64 {
        let (heads, hw) = (pick(1, 4), pick(4, 40));
        let (th, thw) = (pick(1, 4), pick(4, 40));
        let c = ModelConfig {
            name: "x".into(),
            embed_dim: pick(1, 70),
            activation: if case % 2 == 0 {
                Activation::Gelu
            } else {
                Activation::QuickGelu
            },
            vision: VisionConfig {
                image_size: 12,
                patch_size: pick(1, 5),
                width: heads * hw,
                layers: pick(1, 4),
                heads,
                mlp_width: pick(1, 300),
                stages: None,
            },
            text: TextConfig {
                context_length: pick(3, 30),
                vocab_size: 50,
                width: th * thw,
                layers: pick(1, 4),
                heads: th,
                mlp_width: pick(1, 300),
            },
        };
        let n = pick(1, 9);
        let v = VisionTower::new(&c, Random::new(case).vision(&c));
        let pixels: Vec<f32> = Random::new(!case).values(n * 3 * 12 * 12, 2.0);
        let images = Images::new(&pixels, 12, 12).unwrap();
        hash(&mut h, v.encode(images).unwrap().values());
        hash(
            &mut h,
            VisionEncoder::new(&c, Random::new(case).vision(&c))
                .encode(images)
                .unwrap()
                .values(),
        );
        let (f, tape) = v.forward(images).unwrap();
        let mut g = v.params().zeros_like();
        v.backward(tape, f.values(), &mut g).unwrap();
        for t in g.named() {
            hash(&mut h, t.values);
        }
        let t = TransformerText::new(&c, Random::new(case).text(&c, 2));
        let len = c.text.context_length;
        let mut rr = Random::new(case ^ 9);
        let ids: Vec<u32> = (0..n * len).map(|_| (rr.next() % 50) as u32).collect();
        let tokens = TokenBatch::new(ids, len).unwrap();
        hash(&mut h, t.encode(&tokens).unwrap().values());
        let (f, tape) = t.forward(&tokens, &vec![NoPrompt::Index(1); n]).unwrap();
        let mut g = TextGradient::zeros_like(t.params());
        t.backward(tape, f.values(), &mut g).unwrap();
        for t in g.to_dense(50, Side::No) {
            hash(&mut h, &t.values);
        }
        println!("{case} {h:016x}");
        if case < 12 {
            let mut c = c;
            c.vision = VisionConfig {
                image_size: 64,
                patch_size: 32,
                width: pick(2, 20),
                layers: 4,
                heads: 2,
                mlp_width: 0,
                stages: Some([1, pick(1, 3), 1, pick(1, 3)]),
            };
            let t = ResNetTower::new(&c, &Random::new(case).resnet(&c));
            let (a, b) = (pick(31, 90), pick(31, 90));
            let pixels: Vec<f32> = Random::new(!case).values(n * 3 * a * b, 2.0);
            hash(
                &mut h,
                t.encode(Images::new(&pixels, a, b).unwrap())
                    .unwrap()
                    .values(),
            );
            println!("resnet {case} {h:016x}");
        }
    }
}
