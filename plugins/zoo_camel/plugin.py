"""Hooks of HuatuoGPT and HuatuoGPT-II. Light: names things, imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from zoo_core import Offer, Template, hookimpl

TEMPLATES = Path(__file__).parent / "templates"

#: Name of the family, class in `families`, what it loads, and the model classes that it is *the* family of.
FAMILIES = (
    ("huatuogpt", "CamelFamily", "HuatuoGPT, on Baichuan or Ziya", []),
    ("huatuogpt2", "CamelFamily", "HuatuoGPT-II, on Baichuan 2 or Yi", []),
    (
        "baichuan",
        "CamelFamily",
        "Baichuan, by the code of its checkpoint",
        ["BaiChuanForCausalLM", "BaichuanForCausalLM"],
    ),
    ("yi", "CamelFamily", "Yi", ["YiForCausalLM"]),
    ("ziya", "ZiyaFamily", "LLaMA architecture: Ziya", []),
)

SYSTEM = (
    "一位用户和智能医疗大模型HuatuoGPT之间的对话。"
    "对于用户的医疗问诊，HuatuoGPT给出准确的、详细的、温暖的指导建议。"
    "对于用户的指令问题，HuatuoGPT给出有益的、详细的、有礼貌的回答。"
)


@hookimpl
def zoo_model_families() -> list[Offer]:
    """The two generations of HuatuoGPT, and the families of their bases."""
    return [
        Offer(
            name=name,
            target=f"zoo_camel.families:{target}",
            summary=summary,
            extra="chat",
            supports={"format": ["safetensors"], "device": ["cpu", "cuda", "mps"]}
            | ({"model_class": model_classes} if model_classes else {}),
        )
        for name, target, summary, model_classes in FAMILIES
    ]


@hookimpl
def zoo_conversation_templates() -> list[Template]:
    """Patient and HuatuoGPT, question and answer."""
    return [
        Template.from_file(
            TEMPLATES / "huatuogpt.jinja",
            system=SYSTEM,
            roles={"user": "<病人>", "assistant": "<HuatuoGPT>"},
            stop=("</s>",),
            add_bos=True,
            summary="<病人> and <HuatuoGPT>, with full-width colons",
        ),
        Template.from_file(
            TEMPLATES / "huatuogpt2.jinja",
            roles={"user": "<问>", "assistant": "<答>", "end": "</s>"},
            stop=("</s>",),
            summary="<问> and <答>, with full-width colons",
        ),
    ]
