// Shared: activations and their derivatives. 1 is GELU, 2 is QuickGELU, anything else is none.

// Error function by Abramowitz and Stegun 7.1.26, whose error is at most 1.5e-7.
fn error_function(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.3275911 * abs(x));
    let series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    let positive = 1.0 - series * exp(-x * x);
    return select(-positive, positive, x >= 0.0);
}

fn normal_cdf(x: f32) -> f32 {
    return 0.5 * (1.0 + error_function(x * 0.70710678118654752));
}

fn activate(x: f32, activation: u32) -> f32 {
    if activation == 1u {
        return x * normal_cdf(x);
    }
    if activation == 2u {
        return x / (1.0 + exp(-1.702 * x));
    }
    return x;
}

fn slope(x: f32, activation: u32) -> f32 {
    if activation == 1u {
        return normal_cdf(x) + x * exp(-0.5 * x * x) * 0.39894228040143268;
    }
    if activation == 2u {
        let sigmoid = 1.0 / (1.0 + exp(-1.702 * x));
        return sigmoid + 1.702 * x * sigmoid * (1.0 - sigmoid);
    }
    return 1.0;
}
