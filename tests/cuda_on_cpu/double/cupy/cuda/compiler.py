"""The error of the compiler, as cupy.cuda.compiler has it."""

__all__ = ["CompileException"]


class CompileException(Exception):
    """A source that does not compile; the message is g++'s."""

    def __init__(self, msg: str, source: str, name: str, options: tuple[str, ...]):
        super().__init__(msg)
        self.source = source
        self.name = name
        self.options = options
