// Gradient of keys and values: an invocation for each key, over tiles of 16 queries.
struct Params { sequences: u32, length: u32, heads: u32, is_causal: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<Compute>;
@group(0) @binding(2) var<storage, read> d_out: array<Compute>;
@group(0) @binding(3) var<storage, read> statistics: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_qkv: array<Compute>;

const TILE: u32 = 16u;
var<workgroup> queries: array<f32, TILE * HEAD>;
var<workgroup> gradients: array<f32, TILE * HEAD>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    // A sequence and a head.
    let pair = group.z * groups.y + group.y;
    if pair >= p.sequences * p.heads {
        return;
    }
    let head = pair % p.heads;
    let first_row = pair / p.heads * p.length;
    let position = group.x * 64u + index;
    let is_active = position < p.length;
    let width = p.heads * HEAD;
    var key: array<f32, HEAD>;
    var value: array<f32, HEAD>;
    var d_key: array<f32, HEAD>;
    var d_value: array<f32, HEAD>;
    let own = (first_row + position) * 3u * width + head * HEAD;
    for (var c = 0u; c < HEAD; c++) {
        d_key[c] = 0.0;
        d_value[c] = 0.0;
        key[c] = 0.0;
        value[c] = 0.0;
        if is_active {
            key[c] = f32(qkv[own + width + c]);
            value[c] = f32(qkv[own + 2u * width + c]);
        }
    }
    var begin = 0u;
    if p.is_causal != 0u {
        // Earlier queries do not see these keys.
        begin = group.x * 64u;
    }
    for (var start = begin; start < p.length; start += TILE) {
        for (var element = index; element < TILE * HEAD; element += 64u) {
            let row = start + element / HEAD;
            queries[element] = 0.0;
            gradients[element] = 0.0;
            if row < p.length {
                let at = head * HEAD + element % HEAD;
                queries[element] = f32(qkv[(first_row + row) * 3u * width + at]);
                gradients[element] = f32(d_out[(first_row + row) * width + at]);
            }
        }
        workgroupBarrier();
        for (var query = 0u; query < TILE; query++) {
            let other = start + query;
            if other >= p.length || (p.is_causal != 0u && other < position) {
                continue;
            }
            let log_sum = statistics[2u * (pair * p.length + other)];
            let mean = statistics[2u * (pair * p.length + other) + 1u];
            var logit = 0.0;
            var e = 0.0;
            for (var c = 0u; c < HEAD; c++) {
                logit += key[c] * queries[query * HEAD + c];
                e += value[c] * gradients[query * HEAD + c];
            }
            let probability = exp(logit * p.scale - log_sum);
            let d_logit = p.scale * probability * (e - mean);
            for (var c = 0u; c < HEAD; c++) {
                d_value[c] += probability * gradients[query * HEAD + c];
                d_key[c] += d_logit * queries[query * HEAD + c];
            }
        }
        workgroupBarrier();
    }
    if is_active {
        for (var c = 0u; c < HEAD; c++) {
            d_qkv[own + width + c] = Compute(d_key[c]);
            d_qkv[own + 2u * width + c] = Compute(d_value[c]);
        }
    }
}
