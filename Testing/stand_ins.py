"""Small stand-ins for the parts of Slicer's desktop that slicer-core does not have.

They let the module files be imported and their logic run on slicer-core's real scene. What is
tested with them is reported as "against stand-ins": the panels themselves are run by Slicer only.
"""

import importlib
import pathlib
import sys
import types
import typing
import unittest


class Choice:
    def __init__(self, choices):
        self.choices = choices


class WithinRange:
    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum


class NodeList(list):
    """A list of the parameter node, which Slicer's ObservedList refuses to add to another one."""

    def __add__(self, other):
        raise NotImplementedError("Adding an ObservedList is not supported.")

    __radd__ = __add__


def parameterNodeWrapper(cls):
    """Typed properties over a vtkMRMLScriptedModuleNode, kept the way Slicer keeps them."""
    import slicer

    def properties(name, kind, default):
        kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        if all(isinstance(one, type) for one in kinds) and issubclass(kinds[0], slicer.vtkMRMLNode):
            return property(
                lambda self: self.parameterNode.GetNodeReference(name),
                lambda self, node: self.parameterNode.SetNodeReferenceID(
                    name, node.GetID() if node else None
                ),
            )
        if typing.get_origin(kind) is list:
            return property(
                lambda self: NodeList(
                    self.parameterNode.GetNodeReference(f"{name}.{n}")
                    for n in range(int(self.parameterNode.GetParameter(f"{name}.len") or 0))
                ),
                lambda self, nodes: _write_list(self.parameterNode, name, nodes),
            )

        def read(self):
            text = self.parameterNode.GetParameter(name)
            if not self.parameterNode.GetParameterNames() or (
                name not in self.parameterNode.GetParameterNames()
            ):
                return default
            return text == "True" if kind is bool else kind(text)

        return property(read, lambda self, value: self.parameterNode.SetParameter(name, str(value)))

    cls.annotations = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        cls.annotations[name] = getattr(hint, "__metadata__", ())
        kind = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
        fallback = None
        if kind in (bool, int, float, str, pathlib.Path):
            fallback = getattr(cls, name, kind())
        setattr(cls, name, properties(name, kind, fallback))
    cls.__init__ = lambda self, node: setattr(self, "parameterNode", node)
    cls.is_parameter_node = True
    return cls


def _write_list(parameter_node, name, nodes):
    for n, node in enumerate(nodes):
        parameter_node.SetNodeReferenceID(f"{name}.{n}", node.GetID())
    parameter_node.SetParameter(f"{name}.len", str(len(nodes)))


class ScriptedLoadableModule:
    def __init__(self, parent):
        self.parent = parent


class ScriptedLoadableModuleWidget:
    def __init__(self, parent=None):
        self.parent = parent

    def setup(self):
        pass


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self):
        import slicer

        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def delayDisplay(self, message, msec=None):
        pass


class SegmentStatisticsPluginBase:
    """The contract of Slicer's plugins of Segment Statistics, without its widgets."""

    def __init__(self):
        self.name, self.title, self.keys, self.defaultKeys = "", "", [], []
        self.parameterNode = None

    @staticmethod
    def createCodedEntry(value, scheme, meaning, returnAsString=False):
        import slicer

        entry = slicer.vtkCodedEntry()
        entry.SetValueSchemeMeaning(value, scheme, meaning)
        return entry.GetAsString() if returnAsString else entry

    @staticmethod
    def createMeasurementInfo(name, title, description, units, **codes):
        return {"name": name, "title": title, "description": description, "units": units, **codes}

    def getRequestedKeys(self):
        return self.keys

    def getParameterNode(self):
        return self.parameterNode


def load_module(name: str):
    """Import MarrowAssess or PDFFMapper as a module file on slicer-core."""
    made = {
        "slicer.i18n": {"tr": str, "translate": lambda context, text: text},
        "slicer.parameterNodeWrapper": {
            "Choice": Choice,
            "WithinRange": WithinRange,
            "parameterNodeWrapper": parameterNodeWrapper,
        },
        "SegmentStatisticsPlugins": {"SegmentStatisticsPluginBase": SegmentStatisticsPluginBase},
        "slicer.ScriptedLoadableModule": {
            one.__name__: one
            for one in (
                ScriptedLoadableModule,
                ScriptedLoadableModuleWidget,
                ScriptedLoadableModuleLogic,
                ScriptedLoadableModuleTest,
            )
        },
    }
    for module, content in made.items():
        if module not in sys.modules:
            stand_in = types.ModuleType(module)
            vars(stand_in).update(content)
            sys.modules[module] = stand_in
    # The packages are named MarrowAssess/MarrowAssessLib: the file lies one level down.
    return importlib.import_module(name)
