// Adds (e − mean(e) − n·mean(e·n))/σ to the gradient of each row, with n the normalized row and e = d·gain.
struct Params { count: u32, width: u32, has_rows: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> statistics: array<f32>;
@group(0) @binding(4) var<storage, read> gain: array<f32>;
@group(0) @binding(5) var<storage, read> d_out: array<f32>;
@group(0) @binding(6) var<storage, read_write> d_x: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let row = group.y * groups.x + group.x;
    if row >= p.count {
        return;
    }
    var source = row;
    if p.has_rows != 0u {
        source = rows[row];
    }
    let first = source * p.width;
    let mean = statistics[2u * row];
    let scale = statistics[2u * row + 1u];
    var sum = 0.0;
    var products = 0.0;
    for (var column = index; column < p.width; column += 64u) {
        let e = d_out[row * p.width + column] * gain[column];
        sum += e;
        products += e * (x[first + column] - mean) * scale;
    }
    let mean_e = total(sum, index) / f32(p.width);
    let mean_en = total(products, index) / f32(p.width);
    for (var column = index; column < p.width; column += 64u) {
        let e = d_out[row * p.width + column] * gain[column];
        let n = (x[first + column] - mean) * scale;
        d_x[first + column] += (e - mean_e - n * mean_en) * scale;
    }
}
