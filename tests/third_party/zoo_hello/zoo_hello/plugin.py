"""What the plugin brings. Names things only; what is heavy is imported when it is used."""

from pathlib import Path

from zoo_core import Offer, Template, hookimpl

HERE = Path(__file__).parent


@hookimpl
def zoo_card_folders():
    return [HERE / "cards"]


@hookimpl
def zoo_conversation_templates():
    return [Template.from_file(HERE / "templates" / "hello.jinja", system="Be brief.", stop=("\n[",))]


@hookimpl
def zoo_model_families():
    return [
        Offer(
            name="hello",
            target="zoo_hello.family:HelloFamily",
            summary="small LLaMA models that say hello",
            extra="chat",
        )
    ]


@hookimpl
def zoo_commands():
    return [Offer(name="hello", target="zoo_hello.command:command", summary="Greet the models of the zoo.")]
