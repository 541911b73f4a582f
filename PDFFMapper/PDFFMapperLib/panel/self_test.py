"""Known truth in the desktop, on the digital lumbar spine."""

import slicer

from PDFFMapper import PDFFMapperLogic


def pdff(case):
    """Median PDFF of L3 within a point of what was drawn, the same for L2 in MarrowAssess."""
    case.delayDisplay("Mapping PDFF of the digital lumbar spine")
    logic = PDFFMapperLogic()
    sample = case.marrow().loadMapperSample()
    nodes = logic.mapPDFF(sample.echoes)
    case.assertEqual(nodes[0].GetVoxelValueUnits().GetCodeValue(), "%")
    logic.sendToMarrowAssess(nodes)
    marrow = case.marrow()
    case.assertEqual(marrow.getParameterNode().pdffVolume, nodes[0])
    assessment = marrow.assess({"PDFF": nodes[0]}, sample.segmentation)
    for result in assessment.results:
        site = result.measurement.site
        if result.measurement.quantity == "marrow_pdff" and site in sample.true_pdff:
            case.assertAlmostEqual(result.measurement.value, sample.true_pdff[site], delta=1.0)


def diffusion(case):
    """An ADC map is made in its unit."""
    case.delayDisplay("Mapping diffusion of the digital lumbar spine")
    sample = case.marrow().loadMapperSample()
    nodes = PDFFMapperLogic().mapDiffusion(sample.diffusion, "ADC", lowestB=200.0)
    case.assertEqual(nodes[0].GetName(), "ADC")
    case.assertEqual(nodes[0].GetVoxelValueUnits().GetCodeMeaning(), "10^-3 mm^2/s")


def cancel(case):
    """A canceled job leaves the list of nodes as it was."""
    case.delayDisplay("Canceling")
    sample = case.marrow().loadMapperSample()
    count = slicer.mrmlScene.GetNumberOfNodes()
    case.assertIsNone(PDFFMapperLogic().mapPDFF(sample.echoes, progress=lambda part: False))
    case.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), count)


def panel(case):
    """The panel lists the echoes, takes typed values, maps, and hands over."""
    case.delayDisplay("Using the panel")
    sample = case.marrow().loadMapperSample()
    widget = slicer.util.getModuleWidget("PDFFMapper")
    if slicer.util.mainWindow():
        slicer.util.selectModule("PDFFMapper")
    widget.enter()
    echoes = widget.tabs[0].table
    case.assertEqual(echoes.rowCount, len(sample.echoes))
    echoes.item(0, 2).setText("1.25")
    facts = widget.logic.frames(sample.echoes[:1])[0].volume.attributes
    case.assertEqual(facts["EchoTime"], 1.25)
    echoes.item(0, 2).setText("1.2")
    parameters = widget.logic.getParameterNode()
    parameters.dixonInput = "water and fat"
    case.assertTrue(widget.ui.fatVolume.isVisibleTo(widget.tabs[0].page))
    case.assertFalse(echoes.isVisibleTo(widget.tabs[0].page))
    case.assertFalse(widget.ui.applyButton.enabled)
    widget.ui.tabWidget.currentIndex = 1
    case.assertEqual(widget.tab().table.rowCount, len(sample.diffusion))
    case.assertTrue(widget.ui.applyButton.enabled)
    widget.onApplyButton()
    case.assertEqual(parameters.mapNodes[0].GetName(), "ADC")
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(parameters.mapNodes[0])
    case.assertTrue(legend.GetVisibility())
    case.assertTrue(widget.ui.sendButton.enabled)
    widget.ui.tabWidget.currentIndex = 0
    slicer.mrmlScene.Clear()
    case.assertFalse(widget.ui.applyButton.enabled)


STEPS = (pdff, diffusion, cancel, panel)
