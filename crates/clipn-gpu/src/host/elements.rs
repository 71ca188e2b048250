//! Operations on elements and rows.

use clipn_model::Real;

use crate::host::HostBuffer;
use crate::host::products::{activate, slope};
use crate::op::{MEAN_PROMPT, NO_PROMPT, Op, PatchShape, SCALED_ROW, SQUARES_PER_SUM};

pub(super) fn run<T: Real>(op: &Op<HostBuffer<T>>) {
    match op {
        Op::Activate {
            x,
            out,
            len,
            activation,
        } => map(x, out, *len, |x| activate(x, *activation)),
        Op::Convert { x, out, len } => map(x, out, *len, |x| x),
        Op::Clear { out, len } => out.update(|out| out[..*len].fill(T::zero())),
        Op::ActivateBackward {
            x,
            d,
            len,
            activation,
        } => {
            let x = x.copy();
            d.update(|d| {
                for (d, &x) in d[..*len].iter_mut().zip(&x) {
                    *d = *d * slope(x, *activation);
                }
            });
        }
        Op::SumsOfSquares { x, out, len } => {
            let x = x.copy();
            let sum = |chunk: &[T]| chunk.iter().map(|&v| v * v).sum::<T>();
            let sums: Vec<T> = x[..*len].chunks(SQUARES_PER_SUM).map(sum).collect();
            out.update(|out| out[..sums.len()].copy_from_slice(&sums));
        }
        Op::Patchify { pixels, out, shape } => {
            let pixels = pixels.copy();
            out.update(|out| patchify(out, &pixels, *shape));
        }
        Op::ColumnSums { .. } => column_sums(op),
        Op::AddClassToken { .. } | Op::DropClassToken { .. } => class_token(op),
        Op::EmbedTokens { .. } => embed_tokens(op),
        Op::ScatterRows { .. } => scatter_rows(op),
        Op::AdamW { .. } => adamw(op),
        _ => {}
    }
}

fn map<T: Real>(x: &HostBuffer<T>, out: &HostBuffer<T>, len: usize, f: impl Fn(T) -> T) {
    let x = x.copy();
    out.update(|out| {
        for (out, &x) in out[..len].iter_mut().zip(&x) {
            *out = f(x);
        }
    });
}

fn patchify<T: Real>(out: &mut [T], pixels: &[T], shape: PatchShape) {
    let PatchShape {
        images,
        height,
        width,
        patch,
    } = shape;
    let columns = width / patch;
    let inner = 3 * patch * patch;
    for row in 0..images * shape.patches() {
        let (image, index) = (row / shape.patches(), row % shape.patches());
        let (top, left) = (index / columns * patch, index % columns * patch);
        for i in 0..inner {
            let (channel, y, x) = (i / (patch * patch), i / patch % patch, i % patch);
            out[row * inner + i] =
                pixels[((image * 3 + channel) * height + top + y) * width + left + x];
        }
    }
}

fn column_sums<T: Real>(op: &Op<HostBuffer<T>>) {
    let Op::ColumnSums {
        x,
        offset,
        stride,
        count,
        width,
        scale,
        accumulate,
        out,
        ..
    } = op
    else {
        return;
    };
    let x = x.copy();
    out.update(|out| {
        for (column, out) in out[..*width].iter_mut().enumerate() {
            let rows = (0..*count).map(|row| x[offset + row * stride + column]);
            let sum = rows.sum::<T>() * T::from_f64(*scale);
            *out = if *accumulate { *out + sum } else { sum };
        }
    });
}

fn class_token<T: Real>(op: &Op<HostBuffer<T>>) {
    match op {
        Op::AddClassToken {
            patches,
            class,
            positions,
            out,
            images,
            length,
            width,
        } => {
            let (patches, class, positions) = (patches.copy(), class.copy(), positions.copy());
            out.update(|out| {
                for row in 0..images * (1 + length) {
                    let (image, at) = (row / (1 + length), row % (1 + length));
                    for column in 0..*width {
                        let value = match at {
                            0 => class[column],
                            _ => patches[(image * length + at - 1) * width + column],
                        };
                        out[row * width + column] = value + positions[at * width + column];
                    }
                }
            });
        }
        Op::DropClassToken {
            x,
            out,
            images,
            length,
            width,
        } => {
            let (x, each) = (x.copy(), length * width);
            out.update(|out| {
                for image in 0..*images {
                    let from = (image * (1 + length) + 1) * width;
                    out[image * each..][..each].copy_from_slice(&x[from..][..each]);
                }
            });
        }
        _ => {}
    }
}

fn embed_tokens<T: Real>(op: &Op<HostBuffer<T>>) {
    let Op::EmbedTokens {
        table,
        first,
        rows,
        ids,
        positions,
        prompts,
        mean,
        out,
        texts,
        length,
        context,
        width,
    } = op
    else {
        return;
    };
    let (table, ids, positions) = (table.get(), ids.indices(), positions.get());
    let prompts = prompts.as_ref().map(HostBuffer::get);
    let mean = mean.as_ref().map(HostBuffer::get);
    out.update(|out| {
        for row in 0..texts * length {
            let (text, at) = (row / length, row % length);
            let id = ids[row] as usize;
            if !(*first..first + rows).contains(&id) {
                continue;
            }
            let prompt = match (ids[texts * length + text], &prompts, &mean) {
                (MEAN_PROMPT, _, Some(mean)) => Some(&mean[at * width..][..*width]),
                (NO_PROMPT | MEAN_PROMPT, ..) => None,
                (index, Some(prompts), _) => {
                    Some(&prompts[(index as usize * context + at) * width..][..*width])
                }
                _ => None,
            };
            for column in 0..*width {
                let token = table[(id - first) * width + column];
                let added = prompt.map_or(T::zero(), |prompt| prompt[column]);
                out[row * width + column] = token + (positions[at * width + column] + added);
            }
        }
    });
}

fn scatter_rows<T: Real>(op: &Op<HostBuffer<T>>) {
    let Op::ScatterRows {
        x,
        count,
        lists,
        out,
        first,
        rows,
        width,
        stride,
        scale,
        ..
    } = op
    else {
        return;
    };
    let (x, lists) = (x.copy(), lists.indices());
    let targets = lists[0] as usize;
    out.update(|out| {
        for index in 0..targets {
            let target = lists[2 + targets + index] as usize;
            if !(*first..first + rows).contains(&target) {
                continue;
            }
            let (from, to) = (lists[1 + index] as usize, lists[2 + index] as usize);
            for &row in &lists[2 + 2 * targets..][from..to] {
                let factor = if row & SCALED_ROW == 0 { 1.0 } else { *scale };
                let row = (row & !SCALED_ROW) as usize;
                if row >= *count {
                    continue;
                }
                let target = &mut out[(target - first) * stride..][..*width];
                for (sum, &value) in target.iter_mut().zip(&x[row * width..][..*width]) {
                    *sum = *sum + value * T::from_f64(factor);
                }
            }
        }
    });
}

fn adamw<T: Real>(op: &Op<HostBuffer<T>>) {
    let Op::AdamW {
        parameter,
        first_moment,
        second_moment,
        gradient,
        constants,
        decays,
        len,
    } = op
    else {
        return;
    };
    let (gradient, constants) = (gradient.copy(), constants.copy());
    let [
        decay,
        one_minus_beta1,
        beta2,
        one_minus_beta2,
        root_correction,
        eps,
        step,
        clip,
    ] = std::array::from_fn(|index| constants[index]);
    let decay = if *decays { decay } else { T::one() };
    parameter.update(|parameter| {
        first_moment.update(|first| {
            second_moment.update(|second| {
                for i in 0..*len {
                    let gradient = gradient[i] * clip;
                    first[i] = first[i] + one_minus_beta1 * (gradient - first[i]);
                    second[i] = second[i] * beta2 + one_minus_beta2 * gradient * gradient;
                    let root = second[i].sqrt() / root_correction + eps;
                    parameter[i] = parameter[i] * decay + step * first[i] / root;
                }
            });
        });
    });
}
