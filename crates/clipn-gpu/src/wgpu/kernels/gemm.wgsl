// out = activation(a · b + bias) + addend. A workgroup computes 64 × 64 results, an invocation 4 × 4, from
// tiles of 16 columns of a and rows of b. The sums run over k in order.
struct Params {
    m: u32, n: u32, k: u32,
    a_row: u32, a_column: u32, b_row: u32, b_column: u32,
    has_bias: u32, activation: u32, has_addend: u32, accumulates: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<Compute>;
@group(0) @binding(2) var<storage, read> b: array<Compute>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> addend: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<Out>;

const TILE: u32 = 64u;
const DEPTH: u32 = 16u;
var<workgroup> tile_a: array<f32, 1024>;
var<workgroup> tile_b: array<f32, 1024>;

fn load_a(row: u32, column: u32) -> f32 {
    if row < p.m && column < p.k {
        return f32(a[row * p.a_row + column * p.a_column]);
    }
    return 0.0;
}

fn load_b(row: u32, column: u32) -> f32 {
    if row < p.k && column < p.n {
        return f32(b[row * p.b_row + column * p.b_column]);
    }
    return 0.0;
}

fn store(row: u32, first: u32, sums: vec4<f32>) {
    for (var j = 0u; j < 4u; j++) {
        let column = first + j;
        if row >= p.m || column >= p.n {
            continue;
        }
        let at = row * p.n + column;
        var value = sums[j];
        if p.has_bias != 0u {
            value += bias[column];
        }
        value = activate(value, p.activation);
        if p.has_addend != 0u {
            value += addend[at];
        }
        if p.accumulates != 0u {
            value += f32(out[at]);
        }
        out[at] = Out(value);
    }
}

@compute @workgroup_size(16, 16)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) id: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let first_row = group.y * TILE;
    let first_column = group.x * TILE;
    var sums_0 = vec4<f32>(0.0);
    var sums_1 = vec4<f32>(0.0);
    var sums_2 = vec4<f32>(0.0);
    var sums_3 = vec4<f32>(0.0);
    for (var start = 0u; start < p.k; start += DEPTH) {
        for (var i = 0u; i < 4u; i++) {
            let element = index + i * 256u;
            // Neighboring invocations load neighboring elements of memory.
            var at = vec2<u32>(element / DEPTH, element % DEPTH);
            if p.a_column != 1u {
                at = vec2<u32>(element % TILE, element / TILE);
            }
            tile_a[at.y * TILE + at.x] = load_a(first_row + at.x, start + at.y);
            at = vec2<u32>(element % TILE, element / TILE);
            if p.b_column != 1u {
                at = vec2<u32>(element / DEPTH, element % DEPTH);
            }
            tile_b[at.y * TILE + at.x] = load_b(start + at.y, first_column + at.x);
        }
        workgroupBarrier();
        for (var l = 0u; l < DEPTH; l++) {
            let from_a = l * TILE + id.y * 4u;
            let from_b = l * TILE + id.x * 4u;
            let row = vec4<f32>(tile_b[from_b], tile_b[from_b + 1u], tile_b[from_b + 2u], tile_b[from_b + 3u]);
            sums_0 += tile_a[from_a] * row;
            sums_1 += tile_a[from_a + 1u] * row;
            sums_2 += tile_a[from_a + 2u] * row;
            sums_3 += tile_a[from_a + 3u] * row;
        }
        workgroupBarrier();
    }
    let row = first_row + id.y * 4u;
    let column = first_column + id.x * 4u;
    store(row, column, sums_0);
    store(row + 1u, column, sums_1);
    store(row + 2u, column, sums_2);
    store(row + 3u, column, sums_3);
}
