// Token embeddings plus positions plus prompts, for the tokens of one part of the table.
struct Params {
    len: u32, first: u32, rows: u32, texts: u32, length: u32, context: u32, width: u32,
    has_prompts: u32, has_mean: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read> positions: array<f32>;
@group(0) @binding(4) var<storage, read> prompts: array<f32>;
@group(0) @binding(5) var<storage, read> mean: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let i = (group.y * groups.x + group.x) * 256u + index;
    if i >= p.len {
        return;
    }
    let column = i % p.width;
    let row = i / p.width;
    let id = ids[row];
    if id < p.first || id - p.first >= p.rows {
        return;
    }
    let at = row % p.length * p.width + column;
    let prompt = ids[p.texts * p.length + row / p.length];
    var added = 0.0;
    if prompt == 0xffffffffu {
        if p.has_mean != 0u {
            added = mean[at];
        }
    } else if prompt != 0xfffffffeu && p.has_prompts != 0u {
        added = prompts[prompt * p.context * p.width + at];
    }
    out[i] = table[(id - p.first) * p.width + column] + (positions[at] + added);
}
