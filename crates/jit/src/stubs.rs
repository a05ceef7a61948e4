//! Code that lives as long as the process, made by cranelift-jit.

use cranelift_codegen::ir::{AbiParam, InstBuilder, types};
use cranelift_codegen::isa::CallConv;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module, default_libcall_names};
use std::sync::OnceLock;

/// Host address of the code that an unlinked exit jumps to: a unit that returns the address of
/// the link slot it was reached through.
pub(crate) fn unlinked() -> usize {
    static UNLINKED: OnceLock<usize> = OnceLock::new();
    *UNLINKED.get_or_init(|| {
        let mut flags = settings::builder();
        flags.set("preserve_frame_pointers", "true").expect("a setting of Cranelift");
        let isa = cranelift_native::builder()
            .expect("Cranelift generates code for this host")
            .finish(settings::Flags::new(flags))
            .expect("Cranelift accepts its own settings");
        let mut module = JITModule::new(JITBuilder::with_isa(isa, default_libcall_names()));
        let mut context = module.make_context();
        context.func.signature = unit_signature();
        let mut frontend = FunctionBuilderContext::new();
        let mut b = FunctionBuilder::new(&mut context.func, &mut frontend);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let slot = b.block_params(entry)[1];
        b.ins().return_(&[slot]);
        b.seal_all_blocks();
        b.finalize(module.target_config());
        let id = module
            .declare_function("unlinked", Linkage::Export, &context.func.signature)
            .expect("the stub's name is free");
        module.define_function(id, &mut context).expect("the stub compiles");
        module.finalize_definitions().expect("the stub can be made executable");
        let address = module.get_finalized_function(id) as usize;
        std::mem::forget(module); // its code is never freed
        address
    })
}

/// What every unit is: from the vCPU and the link slot it is reached through to an exit word.
pub(crate) fn unit_signature() -> cranelift_codegen::ir::Signature {
    let mut signature = cranelift_codegen::ir::Signature::new(CallConv::Tail);
    signature.params.extend([AbiParam::new(types::I64); 2]);
    signature.returns.push(AbiParam::new(types::I64));
    signature
}
