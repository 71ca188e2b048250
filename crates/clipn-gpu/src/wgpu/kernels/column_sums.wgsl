// Partial sums over 128 rows; an invocation for each column.
struct Params { count: u32, width: u32, stride: u32, offset: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<In>;
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let column = group.x * 64u + index;
    if column >= p.width {
        return;
    }
    let start = group.y * 128u;
    let end = min(start + 128u, p.count);
    var sum = 0.0;
    for (var row = start; row < end; row++) {
        sum += f32(x[p.offset + row * p.stride + column]);
    }
    partials[group.y * p.width + column] = sum;
}
