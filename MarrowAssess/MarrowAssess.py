import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


class MarrowAssess(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MarrowAssess")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        self.parent.contributors = ["The MarrowAssess authors"]


class MarrowAssessWidget(ScriptedLoadableModuleWidget):
    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        ui = slicer.util.loadUI(self.resourcePath("UI/MarrowAssess.ui"))
        self.layout.addWidget(ui)
        ui.setMRMLScene(slicer.mrmlScene)


class MarrowAssessLogic(ScriptedLoadableModuleLogic):
    pass


class MarrowAssessTest(ScriptedLoadableModuleTest):
    pass
