// Partial sums over 128 rows of d · normalized row; an invocation for each column.
struct Params { count: u32, width: u32, has_rows: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> statistics: array<f32>;
@group(0) @binding(4) var<storage, read> d_out: array<f32>;
@group(0) @binding(5) var<storage, read_write> partials: array<f32>;

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
        var source = row;
        if p.has_rows != 0u {
            source = rows[row];
        }
        let normed = (x[source * p.width + column] - statistics[2u * row]) * statistics[2u * row + 1u];
        sum += d_out[row * p.width + column] * normed;
    }
    partials[group.y * p.width + column] = sum;
}
