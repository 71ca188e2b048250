// Attention with a running softmax: an invocation for each query, over tiles of 16 keys and values.
// HEAD is the width of a head.
struct Params { sequences: u32, length: u32, heads: u32, is_causal: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<Compute>;
@group(0) @binding(2) var<storage, read_write> out: array<Compute>;

const TILE: u32 = 16u;
var<workgroup> keys: array<f32, TILE * HEAD>;
var<workgroup> values: array<f32, TILE * HEAD>;

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
    var query: array<f32, HEAD>;
    var sums: array<f32, HEAD>;
    for (var c = 0u; c < HEAD; c++) {
        sums[c] = 0.0;
        query[c] = 0.0;
        if is_active {
            query[c] = f32(qkv[(first_row + position) * 3u * width + head * HEAD + c]);
        }
    }
    var largest = -3.0e38;
    var probabilities = 0.0;
    var end = p.length;
    if p.is_causal != 0u {
        end = min(end, group.x * 64u + 64u);
    }
    for (var start = 0u; start < end; start += TILE) {
        for (var element = index; element < TILE * HEAD; element += 64u) {
            let row = start + element / HEAD;
            keys[element] = 0.0;
            values[element] = 0.0;
            if row < p.length {
                let at = (first_row + row) * 3u * width + head * HEAD + element % HEAD;
                keys[element] = f32(qkv[at + width]);
                values[element] = f32(qkv[at + 2u * width]);
            }
        }
        workgroupBarrier();
        for (var key = 0u; key < TILE; key++) {
            let other = start + key;
            if other >= p.length || (p.is_causal != 0u && other > position) {
                continue;
            }
            var logit = 0.0;
            for (var c = 0u; c < HEAD; c++) {
                logit += query[c] * keys[key * HEAD + c];
            }
            logit *= p.scale;
            if logit > largest {
                let correction = exp(largest - logit);
                probabilities *= correction;
                for (var c = 0u; c < HEAD; c++) {
                    sums[c] *= correction;
                }
                largest = logit;
            }
            let probability = exp(logit - largest);
            probabilities += probability;
            for (var c = 0u; c < HEAD; c++) {
                sums[c] += probability * values[key * HEAD + c];
            }
        }
        workgroupBarrier();
    }
    if is_active {
        for (var c = 0u; c < HEAD; c++) {
            out[(first_row + position) * width + head * HEAD + c] = Compute(sums[c] / probabilities);
        }
    }
}
