// Sums of partial sums, in order.
struct Params { count: u32, width: u32, scale: f32, accumulates: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partials: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let column = group.x * 64u + index;
    if column >= p.width {
        return;
    }
    var sum = 0.0;
    for (var row = 0u; row < p.count; row++) {
        sum += partials[row * p.width + column];
    }
    sum *= p.scale;
    if p.accumulates != 0u {
        sum += out[column];
    }
    out[column] = sum;
}
