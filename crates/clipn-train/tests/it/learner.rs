//! Training on a device against training on the CPU: the same losses, norms and checkpoints.

use std::sync::Arc;

use clipn_engine::{TextTransformer, VisionTransformer};
use clipn_gpu::{Device, HostDevice};
use clipn_model::{PromptSelection, TextSide};
use clipn_testing::figures::{Figures, weights};
use clipn_testing::fixture;
use clipn_text::tokenizer::TokenBatch;
use clipn_train::{
    AdamW, AdamWSettings, Collective, Communicator, CpuImageTower, CpuTowers, DeviceLearner,
    GradientScaling, ImageInput, InProcess, MicroBatch, NoTexts, ObjectiveName, ObjectiveSettings,
    SingleProcess, TextInput, TrainableTowers, Trainer,
};

const MODEL: &str = "vit_quickgelu";
const STEPS: usize = 5;

type CpuTrainer<C = SingleProcess> = Trainer<f32, CpuImageTower, TextTransformer, C>;

fn towers() -> CpuTowers {
    let w = weights(MODEL);
    CpuTowers {
        image: CpuImageTower::Vit(Box::new(VisionTransformer::from_weights(&w))),
        yes: TextTransformer::from_weights(&w, TextSide::Yes),
        no: Some(TextTransformer::from_weights(&w, TextSide::No)),
        logit_scale: w.logit_scale().ln() as f32,
    }
}

fn trainer<C: Communicator + Collective<f32>>(name: ObjectiveName, ranks: C) -> CpuTrainer<C> {
    let settings = ObjectiveSettings {
        name,
        ..ObjectiveSettings::default()
    };
    let optimizer = AdamWSettings {
        max_gradient_norm: Some(0.7),
        ..AdamWSettings::default()
    };
    Trainer::new(
        towers(),
        settings.build().unwrap(),
        GradientScaling::True,
        AdamW::new(optimizer).unwrap(),
        ranks,
    )
    .unwrap()
}

fn attach<D: Device<Value = f32>, C>(trainer: &mut CpuTrainer<C>, device: &Arc<D>)
where
    C: Communicator + Collective<f32>,
{
    let w = weights(MODEL);
    let trainable = trainer.trainable_towers();
    let learner =
        DeviceLearner::from_towers(device, w.config(), trainer.towers(), trainable).unwrap();
    trainer.attach(Box::new(learner)).unwrap();
}

/// Rows of the first published batch.
fn rows(rows: std::ops::Range<usize>) -> MicroBatch<'static, f32> {
    let figures = Figures::open(&fixture(&format!("models/{MODEL}/train.safetensors")));
    let size = figures.shape("images_step0")[3];
    let length = figures.shape("tokens_step0")[1];
    let each = 3 * size * size;
    let ids = figures.ids("tokens_step0")[rows.start * length..rows.end * length].to_vec();
    let tokens = TokenBatch::new(ids, length).unwrap();
    let prompts = figures.ids("prompt_idx_step0");
    let prompt = |&index: &u32| match index {
        16 => PromptSelection::Mean,
        _ => PromptSelection::Index(index as usize),
    };
    let pixels = figures.f32("images_step0");
    MicroBatch {
        images: ImageInput::Pixels {
            values: pixels[rows.start * each..rows.end * each].to_vec().into(),
            size,
        },
        yes: TextInput::Tokens(tokens.clone()),
        no: Some(NoTexts {
            tokens,
            prompts: prompts[rows].iter().map(prompt).collect(),
        }),
        outliers: None,
    }
}

fn count() -> usize {
    let figures = Figures::open(&fixture(&format!("models/{MODEL}/train.safetensors")));
    figures.shape("images_step0")[0]
}

fn step<C: Communicator + Collective<f32>>(
    trainer: &mut CpuTrainer<C>,
    batches: &[MicroBatch<'_, f32>],
) -> (f64, f64) {
    let report = trainer.step(batches, 1e-4).unwrap();
    (report.total, report.gradient_norm.unwrap())
}

fn assert_near(found: f64, expected: f64, what: &str) {
    let error = (found / expected - 1.0).abs();
    assert!(error < 1e-4, "{what}: {found}, expected {expected}");
}

/// Checks every parameter to a tenth of a step: AdamW moves a parameter whose gradient is rounding noise
/// by up to the learning rate.
fn check_parameters(found: &CpuTowers, expected: &CpuTowers) {
    let (found, expected) = (found.tensors().unwrap(), expected.tensors().unwrap());
    let (mut total, mut off) = (0, 0);
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        for (found, expected) in found.to_f32().iter().zip(&*expected.to_f32()) {
            assert!(
                (found - expected).abs() < 1e-4 * STEPS as f32 * 2.1,
                "{name}"
            );
            total += 1;
            off += usize::from((found - expected).abs() > 1e-5);
        }
    }
    assert!(
        off * 1000 < total,
        "{off} of {total} values differ by a tenth of a step"
    );
}

fn steps_equal_those_of_the_cpu<D: Device<Value = f32>>(device: &Arc<D>) {
    let count = count();
    for name in [ObjectiveName::Clipn, ObjectiveName::Clip] {
        for batches in [vec![(0, count)], vec![(0, 3), (3, count)]] {
            let batches: Vec<_> = batches
                .into_iter()
                .map(|(from, to)| rows(from..to))
                .collect();
            let mut cpu = trainer(name, SingleProcess);
            let mut own = trainer(name, SingleProcess);
            attach(&mut own, device);
            assert_eq!(own.device(), Some(device.name()));
            for index in 0..STEPS {
                let (expected, expected_norm) = step(&mut cpu, &batches);
                let (found, norm) = step(&mut own, &batches);
                assert_near(found, expected, &format!("{name:?} loss of step {index}"));
                assert_near(
                    norm,
                    expected_norm,
                    &format!("{name:?} norm of step {index}"),
                );
            }
            own.synchronize().unwrap();
            check_parameters(own.towers(), cpu.towers());
            let steps: Vec<u64> = own.optimizer().moments().map(|(_, m)| m.step()).collect();
            assert!(steps.len() > 30 && steps.iter().all(|&step| step == STEPS as u64));
            assert_eq!(
                own.optimizer().moments().len(),
                cpu.optimizer().moments().len()
            );
        }
    }
}

#[test]
fn steps_on_the_host_device_equal_those_of_the_cpu() {
    steps_equal_those_of_the_cpu(&Arc::new(HostDevice::<f32>::new()));
}

#[cfg(feature = "gpu")]
#[test]
fn steps_on_a_gpu_equal_those_of_the_cpu() {
    if clipn_gpu::adapters().is_empty() {
        eprintln!("skipped: no Vulkan, Metal or DirectX 12 device");
        return;
    }
    let device = clipn_gpu::WgpuDevice::open(0, &clipn_gpu::WgpuOptions::default()).unwrap();
    steps_equal_those_of_the_cpu(&Arc::new(device));
}

#[test]
fn a_run_goes_on_elsewhere_with_the_moments_of_the_device() {
    let batch = [rows(0..count())];
    let device = Arc::new(HostDevice::<f32>::new());
    let mut whole = trainer(ObjectiveName::Clipn, SingleProcess);
    let mut first = trainer(ObjectiveName::Clipn, SingleProcess);
    attach(&mut first, &device);
    for _ in 0..2 {
        step(&mut whole, &batch);
        step(&mut first, &batch);
    }
    first.synchronize().unwrap();
    // On the CPU, and on a device again, from what a checkpoint would hold.
    let resume = || {
        Trainer::new(
            first.towers().clone(),
            ObjectiveSettings::default().build().unwrap(),
            GradientScaling::True,
            first.optimizer().clone(),
            SingleProcess,
        )
        .unwrap()
    };
    let mut on_cpu = resume();
    let mut on_device = resume();
    attach(&mut on_device, &device);
    for index in 0..3 {
        let (expected, _) = step(&mut whole, &batch);
        for trainer in [&mut on_cpu, &mut on_device] {
            let (found, _) = step(trainer, &batch);
            assert_near(
                found,
                expected,
                &format!("loss of step {index} after the resume"),
            );
        }
    }
    on_device.synchronize().unwrap();
    check_parameters(on_device.towers(), whole.towers());
}

#[test]
fn ranks_with_devices_equal_one_process() {
    let count = count();
    let mut whole = trainer(ObjectiveName::Clipn, SingleProcess);
    let batch = [rows(0..count)];
    let expected: Vec<f64> = (0..3).map(|_| step(&mut whole, &batch).0).collect();
    let half = count / 2;
    let ranks: Vec<(Vec<f64>, CpuTowers)> = std::thread::scope(|scope| {
        let ranks = InProcess::world(2).into_iter().enumerate();
        let threads: Vec<_> = ranks
            .map(|(rank, endpoint)| {
                scope.spawn(move || {
                    let mut own = trainer(ObjectiveName::Clipn, endpoint);
                    attach(&mut own, &Arc::new(HostDevice::<f32>::new()));
                    let own_rows = if rank == 0 { 0..half } else { half..count };
                    let batch = [rows(own_rows)];
                    let losses = (0..3).map(|_| step(&mut own, &batch).0).collect();
                    own.synchronize().unwrap();
                    (losses, own.towers().clone())
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for (losses, towers) in ranks {
        assert_eq!(losses.len(), expected.len());
        for (found, expected) in losses.iter().zip(&expected) {
            assert_near(*found, *expected, "loss");
        }
        check_parameters(&towers, whole.towers());
    }
}

/// A learner that was made from other weights takes those of the trainer.
#[test]
fn a_learner_trains_the_parameters_of_its_trainer() {
    let batch = [rows(0..count())];
    let device = Arc::new(HostDevice::<f32>::new());
    let mut trained = trainer(ObjectiveName::Clipn, SingleProcess);
    step(&mut trained, &batch);
    let w = weights(MODEL);
    let learner = |trainable| {
        let learner = DeviceLearner::from_towers(&device, w.config(), &towers(), trainable);
        Box::new(learner.unwrap())
    };
    let mut on_device = Trainer::new(
        trained.towers().clone(),
        ObjectiveSettings::default().build().unwrap(),
        GradientScaling::True,
        trained.optimizer().clone(),
        SingleProcess,
    )
    .unwrap();
    on_device
        .attach(learner(trained.trainable_towers()))
        .unwrap();
    step(&mut on_device, &batch);
    step(&mut trained, &batch);
    on_device.synchronize().unwrap();
    check_parameters(on_device.towers(), trained.towers());
    let error = trained.attach(learner(TrainableTowers::Clip)).unwrap_err();
    let expected = "the towers on host differ from those that are trained: ";
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn a_learning_rate_out_of_range_changes_nothing_on_a_device() {
    let mut own = trainer(ObjectiveName::Clipn, SingleProcess);
    attach(&mut own, &Arc::new(HostDevice::<f32>::new()));
    let error = own.step(&[rows(0..count())], f64::NAN).unwrap_err();
    assert!(error.to_string().contains("learning rate"), "{error}");
    own.synchronize().unwrap();
    check_parameters(
        own.towers(),
        trainer(ObjectiveName::Clipn, SingleProcess).towers(),
    );
}
