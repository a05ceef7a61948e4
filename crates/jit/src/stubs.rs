//! Code that lives as long as the process, made by cranelift-jit.

use cranelift_codegen::ir::{AbiParam, InstBuilder, MemFlagsData, Signature, Value, types};
use cranelift_codegen::isa::CallConv;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module, default_libcall_names};
use mynah_guest::Core;
use std::mem::offset_of;
use std::sync::OnceLock;

/// Host address of the code that an unlinked exit jumps to: a unit that returns the address of
/// the link slot it was reached through.
pub(crate) fn unlinked() -> usize {
    static UNLINKED: OnceLock<usize> = OnceLock::new();
    *UNLINKED.get_or_init(|| {
        make("unlinked", unit_signature(), |b, params| {
            b.ins().return_(&params[1..]);
        })
    })
}

/// Host address of the code that calls [`Core::fill`] and changes no register.
pub(crate) fn fill() -> usize {
    static FILL: OnceLock<usize> = OnceLock::new();
    *FILL.get_or_init(|| {
        make("fill", fill_signature(CallConv::PreserveAll), |b, params| {
            let to = b.import_signature(fill_signature(CallConv::SystemV));
            let at = offset_of!(Core, fill) as i32;
            let function = b.ins().load(types::I64, MemFlagsData::trusted(), params[0], at);
            b.ins().call_indirect(to, function, params);
            b.ins().return_(&[]);
        })
    })
}

/// Makes the function `name` of what `body` does with its parameters; its host address.
fn make(
    name: &str,
    signature: Signature,
    body: impl FnOnce(&mut FunctionBuilder<'_>, &[Value]),
) -> usize {
    let mut flags = settings::builder();
    flags.set("preserve_frame_pointers", "true").expect("a setting of Cranelift");
    let isa = cranelift_native::builder()
        .expect("Cranelift generates code for this host")
        .finish(settings::Flags::new(flags))
        .expect("Cranelift accepts its own settings");
    let mut module = JITModule::new(JITBuilder::with_isa(isa, default_libcall_names()));
    let mut context = module.make_context();
    context.func.signature = signature;
    let mut frontend = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut context.func, &mut frontend);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let params = b.block_params(entry).to_vec();
    body(&mut b, &params);
    b.seal_all_blocks();
    b.finalize(module.target_config());
    let id = module
        .declare_function(name, Linkage::Export, &context.func.signature)
        .expect("the stub's name is free");
    module.define_function(id, &mut context).expect("the stub compiles");
    module.finalize_definitions().expect("the stub can be made executable");
    let address = module.get_finalized_function(id) as usize;
    std::mem::forget(module); // its code is never freed
    address
}

/// Of a call for the TLB: the vCPU, the address and the request.
pub(crate) fn fill_signature(convention: CallConv) -> Signature {
    let mut signature = Signature::new(convention);
    signature.params.extend([AbiParam::new(types::I64); 3]);
    signature
}

/// What every unit is: from the vCPU and the link slot it is reached through to an exit word.
pub(crate) fn unit_signature() -> Signature {
    let mut signature = Signature::new(CallConv::Tail);
    signature.params.extend([AbiParam::new(types::I64); 2]);
    signature.returns.push(AbiParam::new(types::I64));
    signature
}
