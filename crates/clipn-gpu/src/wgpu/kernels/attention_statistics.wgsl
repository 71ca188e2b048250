// For each query, the logarithm of its sum of exponentials, and output · gradient of the output.
struct Params { sequences: u32, length: u32, heads: u32, is_causal: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<Compute>;
@group(0) @binding(2) var<storage, read> attended: array<Compute>;
@group(0) @binding(3) var<storage, read> d_out: array<Compute>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

const TILE: u32 = 16u;
var<workgroup> keys: array<f32, TILE * HEAD>;

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
    var product = 0.0;
    for (var c = 0u; c < HEAD; c++) {
        query[c] = 0.0;
        if is_active {
            query[c] = f32(qkv[(first_row + position) * 3u * width + head * HEAD + c]);
            let at = (first_row + position) * width + head * HEAD + c;
            product += f32(attended[at]) * f32(d_out[at]);
        }
    }
    var largest = -3.0e38;
    var sum = 0.0;
    var end = p.length;
    if p.is_causal != 0u {
        end = min(end, group.x * 64u + 64u);
    }
    for (var start = 0u; start < end; start += TILE) {
        for (var element = index; element < TILE * HEAD; element += 64u) {
            let row = start + element / HEAD;
            keys[element] = 0.0;
            if row < p.length {
                keys[element] = f32(qkv[(first_row + row) * 3u * width + width + head * HEAD + element % HEAD]);
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
                sum *= exp(largest - logit);
                largest = logit;
            }
            sum += exp(logit - largest);
        }
        workgroupBarrier();
    }
    if is_active {
        out[2u * (pair * p.length + position)] = largest + log(sum);
        out[2u * (pair * p.length + position) + 1u] = product;
    }
}
