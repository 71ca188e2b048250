//! Kernels in WGSL, compiled when they are first needed.

/// A kernel with the formats and sizes that its source is specialized for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum KernelName {
    /// Result in the compute format, or in f32.
    Gemm {
        full: bool,
    },
    /// Result in the compute format, or in f32.
    LayerNorm {
        full: bool,
    },
    LayerNormStatistics,
    LayerNormBackward,
    GainGradient,
    /// Input in the compute format, or in f32.
    ColumnSums {
        full: bool,
    },
    FinishSums,
    Activate,
    ActivateBackward,
    Attention {
        head: u32,
    },
    AttentionStatistics {
        head: u32,
    },
    AttentionDQueries {
        head: u32,
    },
    AttentionDKeys {
        head: u32,
    },
    Patchify,
    AddClassToken,
    DropClassToken,
    EmbedTokens,
    ScatterRows,
    AdamW,
    Clear,
    Convert,
    SumsOfSquares,
}

/// Source of a kernel, and its numbers of read-only and of writable bindings.
struct Source {
    parts: &'static [&'static str],
    read: u32,
    write: u32,
}

macro_rules! kernel {
    ($name:literal) => {
        include_str!(concat!("kernels/", $name, ".wgsl"))
    };
}

const ACTIVATION: &str = kernel!("activation");
const REDUCTION: &str = kernel!("reduction");
const MOMENTS: &str = kernel!("moments");

impl KernelName {
    /// Returns every kernel, with attention for one width of a head.
    pub(super) fn all(head_width: usize) -> Vec<Self> {
        let head = head_width as u32;
        vec![
            Self::Gemm { full: false },
            Self::Gemm { full: true },
            Self::LayerNorm { full: false },
            Self::LayerNorm { full: true },
            Self::LayerNormStatistics,
            Self::LayerNormBackward,
            Self::GainGradient,
            Self::ColumnSums { full: false },
            Self::ColumnSums { full: true },
            Self::FinishSums,
            Self::Activate,
            Self::ActivateBackward,
            Self::Attention { head },
            Self::AttentionStatistics { head },
            Self::AttentionDQueries { head },
            Self::AttentionDKeys { head },
            Self::Patchify,
            Self::AddClassToken,
            Self::DropClassToken,
            Self::EmbedTokens,
            Self::ScatterRows,
            Self::AdamW,
            Self::Clear,
            Self::Convert,
            Self::SumsOfSquares,
        ]
    }

    fn source(self) -> Source {
        let (parts, read, write): (&'static [&'static str], u32, u32) = match self {
            Self::Gemm { .. } => (&[ACTIVATION, kernel!("gemm")], 4, 1),
            Self::LayerNorm { .. } => (&[REDUCTION, MOMENTS, kernel!("layer_norm")], 4, 1),
            Self::LayerNormStatistics => (
                &[REDUCTION, MOMENTS, kernel!("layer_norm_statistics")],
                2,
                1,
            ),
            Self::LayerNormBackward => (&[REDUCTION, kernel!("layer_norm_backward")], 5, 1),
            Self::GainGradient => (&[kernel!("gain_gradient")], 4, 1),
            Self::ColumnSums { .. } => (&[kernel!("column_sums")], 1, 1),
            Self::FinishSums => (&[kernel!("finish_sums")], 1, 1),
            Self::Activate => (&[ACTIVATION, kernel!("activate")], 1, 1),
            Self::ActivateBackward => (&[ACTIVATION, kernel!("activate_backward")], 1, 1),
            Self::Attention { .. } => (&[kernel!("attention")], 1, 1),
            Self::AttentionStatistics { .. } => (&[kernel!("attention_statistics")], 3, 1),
            Self::AttentionDQueries { .. } => (&[kernel!("attention_d_queries")], 3, 1),
            Self::AttentionDKeys { .. } => (&[kernel!("attention_d_keys")], 3, 1),
            Self::Patchify => (&[kernel!("patchify")], 1, 1),
            Self::AddClassToken => (&[kernel!("add_class_token")], 3, 1),
            Self::DropClassToken => (&[kernel!("drop_class_token")], 1, 1),
            Self::EmbedTokens => (&[kernel!("embed_tokens")], 5, 1),
            Self::ScatterRows => (&[kernel!("scatter_rows")], 2, 1),
            Self::AdamW => (&[kernel!("adamw")], 2, 3),
            Self::Clear => (&[kernel!("clear")], 0, 1),
            Self::Convert => (&[kernel!("convert")], 1, 1),
            Self::SumsOfSquares => (&[REDUCTION, kernel!("sums_of_squares")], 1, 1),
        };
        Source { parts, read, write }
    }

    /// Returns the specialized source. `is_narrow` is whether the compute format is f16.
    fn wgsl(self, is_narrow: bool) -> String {
        let compute = if is_narrow { "f16" } else { "f32" };
        let format = |full: bool| if full { "f32" } else { compute };
        let mut source = String::new();
        if is_narrow {
            source.push_str("enable f16;\n");
        }
        source.push_str(&format!("alias Compute = {compute};\n"));
        match self {
            Self::Gemm { full } | Self::LayerNorm { full } => {
                source.push_str(&format!("alias Out = {};\n", format(full)));
            }
            Self::ColumnSums { full } => {
                source.push_str(&format!("alias In = {};\n", format(full)));
            }
            Self::Attention { head }
            | Self::AttentionStatistics { head }
            | Self::AttentionDQueries { head }
            | Self::AttentionDKeys { head } => {
                source.push_str(&format!("const HEAD: u32 = {head}u;\n"));
            }
            _ => {}
        }
        for part in self.source().parts {
            source.push_str(part);
        }
        source
    }
}

/// A compiled kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

impl Kernel {
    pub(super) fn compile(device: &wgpu::Device, name: KernelName, is_narrow: bool) -> Self {
        let label = format!("{name:?}");
        let label = Some(label.as_str());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label,
            source: wgpu::ShaderSource::Wgsl(name.wgsl(is_narrow).into()),
        });
        let Source { read, write, .. } = name.source();
        let entry = |binding: u32| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: match binding {
                    0 => wgpu::BufferBindingType::Uniform,
                    _ => wgpu::BufferBindingType::Storage {
                        read_only: binding <= read,
                    },
                },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let entries: Vec<_> = (0..=read + write).map(entry).collect();
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label,
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        Self { pipeline, layout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_in_the_list() {
        let sources: Vec<&str> = (KernelName::all(64).into_iter())
            .flat_map(|name| name.source().parts)
            .copied()
            .collect();
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/wgpu/kernels");
        let mut files = 0;
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(sources.contains(&&text[..]), "{}", path.display());
            files += 1;
        }
        assert!(files > 20, "{files}");
    }
}
