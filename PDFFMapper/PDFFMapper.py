import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


class PDFFMapper(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("PDFFMapper")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        self.parent.contributors = ["The MarrowAssess authors"]


class PDFFMapperWidget(ScriptedLoadableModuleWidget):
    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        ui = slicer.util.loadUI(self.resourcePath("UI/PDFFMapper.ui"))
        self.layout.addWidget(ui)
        ui.setMRMLScene(slicer.mrmlScene)


class PDFFMapperLogic(ScriptedLoadableModuleLogic):
    pass


class PDFFMapperTest(ScriptedLoadableModuleTest):
    pass
