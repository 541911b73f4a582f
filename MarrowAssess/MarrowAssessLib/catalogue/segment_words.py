"""The words that name regions, in the languages and programs in use, and what each says.

Every phrase is in plain small letters without accents; the longest phrase that fits is read first.
Names come from TotalSegmentator, TotalSpineSeg, SPINEPS, MuscleMap, VerSe and CADS, from Slicer's
and DICOM's terms, and from English, German, French, Spanish, Italian, Portuguese and Dutch reports.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a word tells."""

    ROLE = "a tissue"
    VERTEBRA = "a vertebra"
    SPINE = "a part of the spine"  # value: C, T, L or S
    SITE = "a bone"
    MUSCLE = "a muscle"
    SIDE = "a side"
    ORDINAL = "a number"
    IMAGE = "an image"
    IDLE = "nothing"
    COUNTER = "whose or which repeat a number counts"
    OTHER = "a structure that is not measured"  # value: why


@dataclass(frozen=True)
class Word:
    """What a phrase says: its kind, and the tissue, level letter, site or reason."""

    kind: Kind
    value: str = ""


def _plain(kind: Kind, value: str, phrases: str) -> dict[str, Word]:
    return {phrase.strip(): Word(kind, value) for phrase in phrases.split(",")}


_MARROW = """marrow, bone marrow, bm, knochenmark, moelle osseuse, medula osea, medula ossea,
midollo osseo, beenmerg, trabecular bone, trabecular, trabeculae, cancellous bone, cancellous,
spongiosa, spongiose, spongy bone, trabekular, trabekulaer"""
_VERTEBRA = """vertebra, vertebrae, vertebras, vertebral, vert, vb, vbs, vertebral body,
vertebral bodies, body, bodies, corpus, corpora, corpus vertebrae, wk, wirbel, wirbelkorper,
wirbelkoerper, vertebre, vertebres, vertebrale, vertebrales, corps, corps vertebral, cuerpo,
cuerpo vertebral, corpo, corpo vertebral, corpo vertebrale, wervel, wervels, wervellichaam,
vertebrata, vertebre lombaire, centrum"""
_DISC = """disc, discs, disk, disks, ivd, intervertebral disc, intervertebral disk, intervertebral,
bandscheibe, zwischenwirbelscheibe, discus intervertebralis, discus, disc space, disk space,
disque, disque intervertebral, disco, disco intervertebral, disco intervertebrale,
tussenwervelschijf"""
_CSF = """csf, liquor, liquor cerebrospinalis, lcr, cerebrospinal fluid, cerebrospinal,
liquide cephalo rachidien, liquide cerebrospinal, liquido cefalorraquideo, liquido cefalorachidiano,
liquido cefalorrachidiano, liquido cerebrospinal, liquido cerebrospinale, hersenvocht"""
_MUSCLE = """muscle, muscles, muskel, muskeln, muskulatur, musculus, musculi, musculo, musculos,
muscolo, muscoli, skeletal muscle, spier, spieren"""
_FAT = """fat, subcutaneous fat, subcutaneous tissue, subcutaneous adipose tissue, subcutaneous,
adipose tissue, sat, scat, sfat, s fat, subq fat, subcut fat, unterhautfett, unterhautfettgewebe,
subkutanfett, subkutanes fett, subkutanes fettgewebe, fett subkutan, subkutan, sc fat,
fett, fettgewebe, graisse, graisse sous cutanee, grasa, grasa subcutanea, grasso,
grasso sottocutaneo, gordura, gordura subcutanea, vet, onderhuids vet, subcutaan vet"""
_NOISE = """noise, air, background, background air, background noise, air background, luft,
hintergrund, rauschen, bruit, air ambiant, aire, fondo, ruido, rumore, aria, sfondo, lucht, fond,
fundo, ruis"""
_LIVER = "liver, leber, foie, higado, fegato, figado, lever, hepar"
_SPLEEN = "spleen, milz, rate, bazo, milza, baco, milt"
_BLOOD = """blood, blood pool, aorta, descending aorta, aortic arch, abdominal aorta, aorte,
bloodpool"""
_LESION = "lesion, lesions, lasion, laesion, lesione, lesao, lesie, metastasis, metastase"

_SPINE = {
    "C": """cervical, cervicale, cervicales, zervikal, hwk, hw, halswirbel, halswirbelkorper,
halswirbelkoerper, halswervel""",
    "T": """thoracic, thoracique, thoracale, thorakal, toracica, toracico, dorsal, dorsale,
dorsales, bwk, bw, brustwirbel, brustwirbelkorper, brustwirbelkoerper, borstwervel, th""",
    "L": """lumbar, lumbal, lumbale, lombaire, lombaires, lombare, lombar, lwk, lw, lendenwirbel,
lendenwirbelkorper, lendenwirbelkoerper, lendenwervel, lumbare, lumbaire""",
    "S": """sacral, sacrale, sakral, sacree, sakralwirbel, sakralwirbelkorper, swk, kreuzbeinwirbel,
sacraal""",
}

_MUSCLES = {
    "psoas": """psoas, psoas major, iliopsoas, ilio psoas, psoas muscle, psoasmuskel,
musculus psoas major, psoas mayor, grande psoas, grand psoas""",
    "erector spinae": """erector spinae, erector, es muscle, autochthon, erectores spinae, esm,
erectores espinales, erector espinal, erettore spinale, erecteur du rachis, ruckenstrecker,
rueckenstrecker, sacrospinalis""",
    "multifidus": "multifidus, multifidi, multifido, multifide, multifidii",
    "quadratus lumborum": """quadratus lumborum, quadratus, cuadrado lumbar, carre des lombes,
quadrato dei lombi, quadrado lombar, ql muscle""",
    "gluteus": """gluteus, gluteal, gluteus maximus, gluteus medius, gluteus minimus, glutaeus,
glutaeus maximus, glutaeus medius, gluteo, gluteo mayor, gluteo medio, fessier, grand fessier,
glut max, glut med, glut min, bilspier""",
    "paraspinal": """paraspinal, paraspinals, paravertebral, paraspinale, paravertebrale,
paravertebraux, paravertebrales""",
}  # fmt: skip

_SITES = {
    "sacrum": "sacrum, os sacrum, sakrum, kreuzbein, sacro, heiligbeen, osso sacro, hueso sacro",
    "ilium": """ilium, os ilium, iliac bone, iliac wing, hip, hip bone, os coxae, darmbein,
huftbein, hueftbein, ilion, iliaco, os iliaque, aile iliaque, beckenschaufel, darmbeen,
coxal bone""",
    "iliac crest": """iliac crest, crista iliaca, beckenkamm, crete iliaque, cresta iliaca,
bekkenkam, darmbeinkamm""",
    "acetabulum": "acetabulum, hueftpfanne, huftpfanne, acetabulo, cotyle",
    "ischium": "ischium, os ischii, sitzbein, ischion, isquion",
    "pubis": "pubis, os pubis, schambein, pubic bone",
    "femoral head": """femoral head, femur head, head of femur, caput femoris, femurkopf, huftkopf,
hueftkopf, tete femorale, cabeza femoral, testa femorale, cabeca femoral, femurkop,
head of the femur""",
    "femoral neck": """femoral neck, femur neck, neck of femur, neck of the femur, collum femoris,
schenkelhals, femurhals, col femoral, cuello femoral, collo femorale, colo femoral""",
    "proximal femur": """proximal femur, femur proximal, proximaler femur, femur, upper femur,
femur proximalis, femora""",
    "femoral diaphysis": """femoral diaphysis, femoral shaft, femur shaft, femur diaphysis,
diaphyse femorale, femurschaft, diafisis femoral""",
    "distal femur": """distal femur, femur distal, distaler femur, lower femur,
distal femoral metaphysis, distal femoral""",
    "greater trochanter": """greater trochanter, trochanter major, trochanter, grand trochanter,
trocanter mayor, grande trocantere""",
    "proximal tibia": """proximal tibia, tibia proximal, tibial plateau, tibiakopf, proximale tibia,
proximal tibial metaphysis, proximal tibial""",
    "distal tibia": "distal tibia, tibia distal, distale tibia",
    "tibial diaphysis": "tibial diaphysis, tibial shaft, tibia shaft, tibiaschaft",
    "proximal humerus": "proximal humerus, humerus proximal, humerus, proximaler humerus",
    "humeral head": "humeral head, humerus head, humeruskopf, caput humeri, head of humerus",
    "humeral diaphysis": "humeral diaphysis, humeral shaft, humerus shaft, humerusschaft",
    "sternum": "sternum, brustbein, esternon, sterno, esterno, borstbeen",
    "scapula": "scapula, schulterblatt, omoplate, escapula, scapola",
    "clavicle": "clavicle, clavicula, schlusselbein, schluesselbein, clavicule, clavicola",
    "calcaneus": "calcaneus, calcaneum, fersenbein, calcaneo",
    "patella": "patella, kniescheibe, rotule, rotula",
}
_SIDES = {
    "left": """left, l, li, lt, lft, links, linke, linker, linkes, gauche, izquierdo, izquierda,
izq, sinistro, sinistra, sinister, sin, sx, esquerdo, esquerda, linker zijde, lhs""",
    "right": """right, r, re, rt, rgt, rechts, rechte, rechter, rechtes, droit, droite, derecho,
derecha, destro, destra, dexter, dextra, dext, dx, direito, direita, rhs""",
}
_ORDINALS = {
    "1": "first, erster, erste, premiere, primera, prima, primeira, eerste",
    "2": "second, zweiter, zweite, deuxieme, segunda, seconda, tweede",
    "3": "third, dritter, dritte, troisieme, tercera, terza, terceira, derde",
    "4": "fourth, vierter, vierte, quatrieme, cuarta, quarta, vierde",
    "5": "fifth, funfter, funfte, fuenfter, cinquieme, quinta, vijfde",
    "6": "sixth, sechster, sechste, sixieme, sexta, sesta, zesde",
    "7": "seventh, siebter, siebte, septieme, septima, settima, setima, zevende",
    "8": "eighth, achter, achte, huitieme, octava, ottava, oitava, achtste",
    "9": "ninth, neunter, neunte, neuvieme, novena, nona, negende",
    "10": "tenth, zehnter, zehnte, dixieme, decima, tiende",
    "11": "eleventh, elfter, elfte, onzieme, undecima, elfde",
    "12": "twelfth, zwolfter, zwolfte, zwoelfter, douzieme, duodecima, twaalfde",
}
_IMAGES = """t1w, t2w, stir, tirm, dixon, pdff, adc, dwi, tse, fse, flair, vibe, image, r2star,
t2star, mri, mrt, irm, rm, mr, t1wi, t2wi, scan, ffmap, fatfrac, tra, sag, cor, axial, sagittal,
coronal, ax"""
_IDLE = """roi, rois, voi, segment, seg, segmentation, region, mask, label, spine, column, the, of,
at, level, m, mm, musc, der, des, du, de, del, della, di, do, da, dos, dei, le, la, les, el, il,
lo, os, auf, von, im, hohe, structure, structure of, manual, auto, final, copy, copia, kopie,
corrected, edited, new, model, pred, gt, bone, bones, osso, knochen, hueso, nr, drawn, circle,
sphere, ellipse, freehand, whole, entire, complete, total, mean, measurement, by hand, van, het,
een, area, volume, object, skeletal,
back, tissue, normal, healthy"""
_COUNTERS = """sub, subject, patient, pat, case, ses, session, visit, reader, rater, observer,
series, slice, fall, lesung"""

_OF_OTHERS = {
    "it names several things, or what is not there": """and, und, et, plus, minus, without, ohne,
sans, senza, sem, no, not, non, kein""",
    "the spinal cord is not measured": """spinal cord, cord, myelon, ruckenmark, rueckenmark,
moelle epiniere, medula espinal, midollo spinale, ruggenmerg, medulla spinalis, conus, myelum""",
    "the canal and the dural sac hold cord or roots beside CSF; draw CSF alone and name it 'CSF'":
    """spinal canal, canal, spinalkanal, canal rachidien, canal vertebral, canale vertebrale,
wervelkanaal, thecal sac, dural sac, thecal, duralsack, sac dural, saco dural, theca,
canal medullaire, canal raquideo""",
    "it may be marrow or the spinal cord": "moelle, medula, midollo, merg, medulla, mark",
    "an endplate is not marrow": """endplate, endplates, end plate, end plates, deckplatte,
grundplatte, endplatte, plateau vertebral, endplate up, ep""",
    "cortical bone is not marrow": "cortex, cortical, cortical bone, kortikalis, corticalis",
    "arches and processes are not the vertebral body": """posterior elements, posterior element,
arch, vertebral arch, arcus, lamina, pedicle, pedicles, pedikel, spinous process, spinosus, spinous,
transverse process, process, processes, facet, facets, facet joint, articular process, dens, costal,
costal process, neural arch, dornfortsatz, querfortsatz, pars""",
    "nerves and vessels are not measured": """nerve, nerves, nerve root, root, roots, rootlet,
nervenwurzel, foramen, foramina, vein, artery, vena cava, inferior vena cava, ivc, vessel, vessels,
basivertebral vein, iliac artery, iliac vein""",
    "it may be any disease; 'lesion' with its site is measured as one": """tumor, tumour, cancer,
hemangioma, haemangioma, hamangiom, haemangiom, myeloma, fracture, fraktur, edema, oedema, odem,
oedem, cyst, modic, schmorl, schmorl node, infarct, necrosis, osteonecrosis, infiltration, abscess,
hernia, herniation""",
    "its ends differ: name one, such as 'proximal tibia'": "tibia, fibula, shin, schienbein",
    "this organ or tissue is not measured": """kidney, pancreas, lung, heart, bladder,
niere, nier, gallbladder, stomach, bowel, intestine, colon, rectum, prostate,
uterus, brain, cartilage, meniscus, ligament, tendon, skin, implant, screw, metal, cement,
visceral, vat, visceral fat, torso fat, epidural, epidural fat, imat, intermuscular, tongue, bowels,
esophagus, duodenum, adrenal, trachea""",
}  # fmt: skip


def _all() -> dict[str, Word]:
    found: dict[str, Word] = {}
    for why, phrases in _OF_OTHERS.items():
        found |= _plain(Kind.OTHER, why, phrases)
    found |= _plain(Kind.IDLE, "", _IDLE) | _plain(Kind.IMAGE, "", _IMAGES)
    found |= _plain(Kind.COUNTER, "", _COUNTERS)
    for kind, table in (
        (Kind.ORDINAL, _ORDINALS), (Kind.SIDE, _SIDES), (Kind.SITE, _SITES),
        (Kind.MUSCLE, _MUSCLES), (Kind.SPINE, _SPINE),
    ):  # fmt: skip
        for value, phrases in table.items():
            found |= _plain(kind, value, " ".join(phrases.split()))
    found |= _plain(Kind.VERTEBRA, "", _VERTEBRA)
    for role, phrases in (
        ("marrow", _MARROW), ("disc", _DISC), ("csf", _CSF), ("muscle", _MUSCLE), ("fat", _FAT),
        ("noise", _NOISE), ("liver", _LIVER), ("spleen", _SPLEEN), ("blood pool", _BLOOD),
        ("lesion", _LESION),
    ):  # fmt: skip
        found |= _plain(Kind.ROLE, role, phrases)
    return {" ".join(phrase.split()): word for phrase, word in found.items()}


WORDS = _all()
